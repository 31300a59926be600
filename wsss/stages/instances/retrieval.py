"""From peaks to instance masks: scores of proposals, suppression, and components split by peaks. Pure.

Source of the scores: PRM (Zhou et al., CVPR 2018, arXiv 1804.00880), section 3.4.

Shape legend: P peaks of an image, S proposals, N instances, H×W pixels, h×w map cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

BLOCK = 64
"""Number of masks that are held as float32 at a time."""


def contours(masks: np.ndarray, *, width: int) -> np.ndarray:
    """Find the contours Ŝ: dilation minus erosion by a square (morphological gradient).

    The image's border is no contour, so a full mask has none.

    Args:
        masks: (S, H, W) bool.
        width: Side of the square in px, odd.

    Returns:
        (S, H, W) bool.
    """
    square = np.ones((width, width), np.uint8)
    found = [cv2.morphologyEx(m.astype(np.uint8), cv2.MORPH_GRADIENT, square) > 0 for m in masks]
    return np.array(found, np.bool_).reshape(masks.shape)


def background(class_map: np.ndarray, *, size: tuple[int, int], factor: float) -> np.ndarray:
    """Find a class's background Q: where its map, stretched to 0..1, is below `factor` times its mean.

    The published code stretches too, inside the resizing function that it uses. Without it, a raw map of negative mean
    would reverse the threshold.

    Args:
        class_map: (h, w) float, raw.
        size: (H, W) to which it is resized, bicubic.
        factor: Multiple of the mean.

    Returns:
        (H, W) bool; False everywhere for a constant map.
    """
    low, high = float(class_map.min()), float(class_map.max())
    stretched = (class_map.astype(np.float32) - low) / max(high - low, 1e-12)
    fine = cv2.resize(stretched, size[::-1], interpolation=cv2.INTER_CUBIC)  # (H, W); cv2 takes (width, height)
    return fine < factor * fine.mean()


def overlaps(planes: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Sum planes (P, H, W) float inside masks (S, H, W) bool: (P, S) float32."""
    pixels = planes.shape[1] * planes.shape[2]
    flat = planes.reshape(len(planes), pixels).astype(np.float32)  # (P, H W)
    parts = [flat @ masks[k : k + BLOCK].reshape(-1, pixels).astype(np.float32).T for k in range(0, len(masks), BLOCK)]
    return np.concatenate([np.zeros((len(planes), 0), np.float32), *parts], axis=1)


def retrieval_scores(
    responses: np.ndarray,
    backgrounds: np.ndarray,
    masks: np.ndarray,
    *,
    instance: float,
    boundary: float,
    class_penalty: float,
    contour_width: int,
) -> np.ndarray:
    """Score each proposal for each peak: Score(S) = α R∗S + R∗Ŝ − β Q∗S, with ∗ the sum of the products (section 3.4).

    A weight of 0 switches its term off.

    Args:
        responses: (P, H, W) R, each of sum 1.
        backgrounds: (P, H, W) bool, Q of each peak's class.
        masks: (S, H, W) bool.
        instance: α, weight of the response's share inside.
        boundary: Weight of its share on the contour; 1 in the paper.
        class_penalty: Weight of the image's share that is inside and background: β times the number of pixels, so that
            it does not depend on the image's size.
        contour_width: Width for `contours`.

    Returns:
        (P, S) float32.

    Example:
        >>> import numpy as np
        >>> responses = np.array([[[0.75, 0.25, 0.0, 0.0]]], np.float32)  # one peak on 1 x 4 px
        >>> backgrounds = np.array([[[False, False, True, True]]])
        >>> masks = np.array([[[True, True, False, False]], [[True, True, True, True]]])
        >>> weights = {"instance": 1.0, "boundary": 0.0, "class_penalty": 2.0, "contour_width": 3}
        >>> retrieval_scores(responses, backgrounds, masks, **weights).tolist()  # all inside; half the image too much
        [[1.0, 0.0]]
    """
    scores = np.zeros((len(responses), len(masks)), np.float32)
    if instance:
        scores += instance * overlaps(responses, masks)
    if boundary:
        scores += boundary * overlaps(responses, contours(masks, width=contour_width))
    if class_penalty:
        scores -= class_penalty / masks[0].size * overlaps(backgrounds, masks) if len(masks) else 0
    return scores


def mask_iou(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute the IoU of masks (A, H, W) and (B, H, W) bool: (A, B) float32; 0 if both are empty."""
    shared = overlaps(some, others)
    areas = some.sum((1, 2), dtype=np.float32)[:, None] + others.sum((1, 2), dtype=np.float32)[None] - shared
    return np.divide(shared, areas, out=np.zeros_like(shared), where=areas > 0)


def suppress(
    masks: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, *, overlap: float, within_class: bool
) -> np.ndarray:
    """Leave out masks that overlap a better one too much (non-maximum suppression).

    Args:
        masks: (N, H, W) bool.
        scores: (N,) float.
        class_ids: (N,) int.
        overlap: A mask with an IoU of at least this with a kept one is left out; above 1 keeps all.
        within_class: Whether only masks of one class suppress each other.

    Returns:
        The kept positions, best first; of equal scores the earlier first.

    Example:
        >>> import numpy as np
        >>> masks = np.array([[[True, True, False]], [[True, True, True]], [[False, False, True]]])
        >>> suppress(masks, np.array([0.5, 0.9, 0.7]), np.array([1, 1, 1]), overlap=0.5, within_class=True).tolist()
        [1, 2]
    """
    kept: list[int] = []
    for k in np.argsort(-scores, kind="stable"):
        rivals = [j for j in kept if class_ids[j] == class_ids[k] or not within_class]
        if not rivals or mask_iou(masks[k][None], masks[rivals]).max() < overlap:
            kept.append(int(k))
    return np.array(kept, np.int64)


def components(region: np.ndarray) -> list[np.ndarray]:
    """Split a region (H, W) bool into its 8-connected components, masks (H, W) bool."""
    count, numbers = cv2.connectedComponents(region.astype(np.uint8), connectivity=8)
    return [numbers == k for k in range(1, count)]


def split_components(
    region: np.ndarray, places: Sequence[tuple[float, float]], responses: np.ndarray
) -> list[tuple[np.ndarray, int]]:
    """Find the instances in one class's region by its peaks.

    A component with one peak is one instance (BESTIE, Kim et al., CVPR 2022); one without is none. One with several is
    split (ours): a pixel goes to the peak that responds most to it, among equal ones to the nearest.

    Args:
        region: (H, W) bool, where the class is.
        places: P places (y, x) in px of the class's peaks.
        responses: (P, H, W) their response maps.

    Returns:
        Mask (H, W) bool and position of its peak, for each instance.

    Example:
        >>> import numpy as np
        >>> region = np.array([[True, True, True, True, False]])
        >>> responses = np.array([[[0.6, 0.4, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.5, 0.5, 0.0]]])
        >>> found = split_components(region, [(0.0, 0.0), (0.0, 3.0)], responses)
        >>> [(mask[0].astype(int).tolist(), peak) for mask, peak in found]
        [([1, 1, 0, 0, 0], 0), ([0, 0, 1, 1, 0], 1)]
    """
    height, width = region.shape
    cells = [(min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)) for y, x in places]
    found: list[tuple[np.ndarray, int]] = []
    for component in components(region):
        inside = [k for k, cell in enumerate(cells) if component[cell]]
        if len(inside) < 2:
            found += [(component, k) for k in inside]
            continue
        y, x = np.nonzero(component)  # M pixels
        distance = np.stack([(y - cells[k][0]) ** 2 + (x - cells[k][1]) ** 2 for k in inside])  # (peaks, M)
        strength = np.stack([responses[k][y, x] for k in inside])  # (peaks, M)
        owner = np.lexsort((distance, -strength), axis=0)[0]  # (M,): by strength, then distance
        for place, k in enumerate(inside):
            part = np.zeros_like(component)
            part[y[owner == place], x[owner == place]] = True
            found += [(part, k)] if part.any() else []
    return found
