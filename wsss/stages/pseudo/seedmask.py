"""From class regions or score maps and a background cue to seed masks; the label filter (pure).

Shape legend: K present classes, h×w score grid, H×W image. Masks are (H, W) uint8: 0 background, 1..C class, 255 ignore.
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
    """AE-PSL's truth table (section 3.1, S = F ∪ B).

    n(u) is the number of classes that claim a pixel, b(u) whether its saliency is below the threshold:

        n = 0, b        -> 0 (background)       n = 0, not b -> 255
        n = 1, not b    -> the class            n = 1, b     -> 255
        n >= 2          -> 255

    Without saliency, the complement of the regions counts as background: n = 0 -> 0, n = 1 -> the class, n >= 2 -> 255.

    Args:
        regions: (K, H, W) bool, one map a class; K may be 0.
        class_ids: (K,) ids 1..C of the maps.
        saliency: (H, W) float32 in [0, 1], or None.
        saliency_threshold: Saliency below it (strictly) is background.

    Returns:
        (H, W) uint8 mask.

    Raises:
        ValueError: If ids, regions and saliency do not fit together.
    """
    ids = _checked_ids(class_ids, count=len(regions))
    if saliency is not None and saliency.shape != regions.shape[1:]:
        raise ValueError(
            f"saliency is {saliency.shape}, the regions are {regions.shape[1:]} (height, width); make both from the same images"
        )
    count = regions.sum(0, dtype=np.int64)
    claimed = (regions * ids[:, None, None]).sum(0, dtype=np.int64)
    background = count == 0 if saliency is None else saliency < saliency_threshold
    mask = np.full(regions.shape[1:], IGNORE, np.uint8)
    mask[(count == 0) & background] = 0
    single = (count == 1) & ~background
    mask[single] = claimed[single]
    return mask


def seeds_from_scores(
    scores: np.ndarray, class_ids: Sequence[int] | np.ndarray, *, size: tuple[int, int], background: np.ndarray | float
) -> np.ndarray:
    """The field's way: upsample, clip at 0, divide each class by its maximum, argmax against a background score.

    Args:
        scores: (K, h, w) float, raw or fused; K may be 0.
        class_ids: (K,) ids 1..C of the maps.
        size: (H, W) of the image.
        background: Background score in [0, 1]: one number, or (H, W). A tie is background.

    Returns:
        (H, W) uint8 mask, without 255. A class whose map is nowhere positive gets no pixel.

    Raises:
        ValueError: If ids, scores and background do not fit together.
    """
    ids = _checked_ids(class_ids, count=len(scores))
    if isinstance(background, np.ndarray) and background.shape != tuple(size):
        raise ValueError(
            f"the background score is {background.shape}, the image {tuple(size)} (height, width); make both from the same images"
        )
    if not len(ids):
        return np.zeros(size, np.uint8)
    maps = np.maximum(resize_maps(scores.astype(np.float32), size=size), 0)
    peak = maps.max((1, 2), keepdims=True)
    maps = maps / np.where(peak > 0, peak, 1)
    best = maps.argmax(0)
    return np.where(maps.max(0) > background, ids[best], 0).astype(np.uint8)


def seeds_from_network(
    scores: np.ndarray, background: np.ndarray, class_ids: Sequence[int] | np.ndarray, *, size: tuple[int, int]
) -> np.ndarray:
    """The network's own decision: argmax over its class maps and its background map, upsampled. No threshold, no normalising.

    Args:
        scores: (K, h, w) float, comparable with `background`, e.g. probabilities; K may be 0.
        background: (h, w) float.
        class_ids: (K,) ids 1..C of the maps.
        size: (H, W) of the image.

    Returns:
        (H, W) uint8 mask, without 255. A tie is background.

    Raises:
        ValueError: If ids, scores and background do not fit together.
    """
    ids = _checked_ids(class_ids, count=len(scores))
    if background.shape != scores.shape[1:]:
        raise ValueError(
            f"the background map is {background.shape}, the class maps {scores.shape[1:]} (height, width); extract them again"
        )
    planes = resize_maps(np.concatenate([background[None], scores]).astype(np.float32), size=size)
    return np.append(0, ids)[planes.argmax(0)].astype(np.uint8)


def filter_labels(mask: np.ndarray, class_ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Keep background, ignored pixels and the named classes; pixels of any other class become 255: what they show is not known, so they must not train as background.

    Args:
        mask: (H, W) uint8.
        class_ids: (K,) ids 1..C that the image's labels name.

    Returns:
        (H, W) uint8 mask.
    """
    keep = np.isin(mask, [0, IGNORE, *np.asarray(class_ids, np.int64)])
    return np.where(keep, mask, IGNORE).astype(np.uint8)


def _checked_ids(class_ids: Sequence[int] | np.ndarray, *, count: int) -> np.ndarray:
    ids = np.asarray(class_ids, np.int64)
    if ids.shape != (count,):
        raise ValueError(f"{ids.size} class ids for {count} maps; expected one id a map")
    if ids.size and (ids.min() < 1 or ids.max() >= IGNORE):
        raise ValueError(
            f"class ids {ids.tolist()} hold one outside 1..{IGNORE - 1}; background has no map of its own here"
        )
    return ids
