"""From class regions or score maps and a background cue to seed masks; the label filter. Pure.

Shape legend: K present classes, h×w score grid, H×W image.
Masks are (H, W) uint8: 0 background, 1..C class, 255 ignore.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsss.files.imaging import resize_maps
from wsss.files.mask_values import IGNORE


def seeds_from_regions(
    regions: np.ndarray,
    class_ids: Sequence[int] | np.ndarray,
    saliency: np.ndarray | None,
    *,
    saliency_threshold: float,
) -> np.ndarray:
    """Make a seed mask by AE-PSL's truth table (section 3.1, S = F ∪ B).

    n is the number of classes that claim a pixel; b is whether its saliency is below the threshold:

        n = 0, b        -> 0 (background)       n = 0, not b -> 255
        n = 1, not b    -> the class            n = 1, b     -> 255
        n >= 2          -> 255

    Without saliency, the complement of the regions counts as background: n = 0 -> 0, n = 1 -> the class, n >= 2 -> 255.

    Args:
        regions: (K, H, W) bool, one for each class; K may be 0.
        class_ids: (K,) ids 1..C of the maps.
        saliency: (H, W) float32 in [0, 1], or None.
        saliency_threshold: Saliency below it (strictly) is background.

    Returns:
        (H, W) uint8 mask.

    Raises:
        ValueError: If ids, regions and saliency do not fit together.

    Example:
        >>> import numpy as np
        >>> regions = np.array([[[True, True, False, False]], [[False, True, False, False]]])  # classes 2 and 5
        >>> saliency = np.array([[0.9, 0.9, 0.9, 0.0]], np.float32)
        >>> seeds_from_regions(regions, [2, 5], saliency, saliency_threshold=0.06).tolist()
        [[2, 255, 255, 0]]
    """
    ids = _checked_ids(class_ids, count=len(regions))
    if saliency is not None and saliency.shape != regions.shape[1:]:
        raise ValueError(
            f"saliency is {saliency.shape}, the regions are {regions.shape[1:]} (height, width); "
            "make both from the same images"
        )
    count = regions.sum(0, dtype=np.int64)  # (H, W)
    claimed = (regions * ids[:, None, None]).sum(0, dtype=np.int64)  # (H, W): the class's id where one claims
    background = count == 0 if saliency is None else saliency < saliency_threshold
    mask = np.full(regions.shape[1:], IGNORE, np.uint8)
    mask[(count == 0) & background] = 0
    single = (count == 1) & ~background
    mask[single] = claimed[single]
    return mask


def seeds_from_scores(
    scores: np.ndarray, class_ids: Sequence[int] | np.ndarray, *, size: tuple[int, int], background: np.ndarray | float
) -> np.ndarray:
    """Make a seed mask the field's way: argmax over the class maps and a background score.

    The maps are upsampled, clipped at 0, and each divided by its maximum.

    Args:
        scores: (K, h, w) float, raw or fused; K may be 0.
        class_ids: (K,) ids 1..C of the maps.
        size: (H, W) of the image.
        background: Background score in [0, 1]: one number, or (H, W). Equal scores are background.

    Returns:
        (H, W) uint8 mask, without 255. A class whose map is nowhere positive gets no pixel.

    Raises:
        ValueError: If ids, scores and background do not fit together.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[[8.0, 1.0]], [[1.0, 0.5]]])  # classes 2 and 5; divided: 1, 1/8 and 1, 1/2
        >>> seeds_from_scores(scores, [2, 5], size=(1, 2), background=0.6).tolist()
        [[2, 0]]
    """
    ids = _checked_ids(class_ids, count=len(scores))
    if isinstance(background, np.ndarray) and background.shape != tuple(size):
        raise ValueError(
            f"the background score is {background.shape}, the image {tuple(size)} (height, width); "
            "make both from the same images"
        )
    if not len(ids):
        return np.zeros(size, np.uint8)
    maps = np.maximum(resize_maps(scores.astype(np.float32), size=size), 0)  # (K, H, W)
    peak = maps.max((1, 2), keepdims=True)  # (K, 1, 1)
    maps = maps / np.where(peak > 0, peak, 1)
    best = maps.argmax(0)  # (H, W), the first of equal ones
    return np.where(maps.max(0) > background, ids[best], 0).astype(np.uint8)


def seeds_from_network(
    scores: np.ndarray, background: np.ndarray, class_ids: Sequence[int] | np.ndarray, *, size: tuple[int, int]
) -> np.ndarray:
    """Make a seed mask by the network's own decision: argmax over its class maps and its background map, upsampled.

    There is no threshold and no normalisation.

    Args:
        scores: (K, h, w) float, comparable with `background`, e.g. probabilities; K may be 0.
        background: (h, w) float.
        class_ids: (K,) ids 1..C of the maps.
        size: (H, W) of the image.

    Returns:
        (H, W) uint8 mask, without 255. Equal scores are background.

    Raises:
        ValueError: If ids, scores and background do not fit together.
    """
    ids = _checked_ids(class_ids, count=len(scores))
    if background.shape != scores.shape[1:]:
        raise ValueError(
            f"the background map is {background.shape}, the class maps {scores.shape[1:]} (height, width); "
            "extract them again"
        )
    planes = resize_maps(np.concatenate([background[None], scores]).astype(np.float32), size=size)  # (K + 1, H, W)
    return np.append(0, ids)[planes.argmax(0)].astype(np.uint8)


def filter_labels(mask: np.ndarray, class_ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Keep background, ignored pixels and the image's classes; pixels of any other class become 255.

    What they show is not known, so they must not train as background.

    Args:
        mask: (H, W) uint8.
        class_ids: (K,) ids 1..C of the image-level labels.

    Returns:
        (H, W) uint8 mask.

    Example:
        >>> import numpy as np
        >>> filter_labels(np.array([[0, 2, 7, 255]], np.uint8), [2]).tolist()
        [[0, 2, 255, 255]]
    """
    keep = np.isin(mask, [0, IGNORE, *np.asarray(class_ids, np.int64)])
    return np.where(keep, mask, IGNORE).astype(np.uint8)


def _checked_ids(class_ids: Sequence[int] | np.ndarray, *, count: int) -> np.ndarray:
    """(K,) int64 of ids that fit `count` maps."""
    ids = np.asarray(class_ids, np.int64)
    if ids.shape != (count,):
        raise ValueError(f"{ids.size} class ids for {count} maps; expected one id for each map")
    if ids.size and (ids.min() < 1 or ids.max() >= IGNORE):
        legal = f"1..{IGNORE - 1}"
        raise ValueError(f"class ids {ids.tolist()} hold one outside {legal}; background has no map of its own here")
    return ids
