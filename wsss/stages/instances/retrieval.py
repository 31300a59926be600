"""From peaks to instance masks: scores of proposals, suppression, and components split by peaks (Zhou et al., CVPR 2018, section 3.4). Pure.

Shape legend: P peaks of an image, S proposals, H×W pixels, h×w map cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

BLOCK = 64
"""Masks taken as float32 at a time."""


def contours(masks: np.ndarray, *, width: int) -> np.ndarray:
    """Morphological gradients Ŝ, dilation minus erosion by a square; the image's border is no contour, so a full mask has none.

    Args:
        masks: (S, H, W) bool.
        width: Side of the square, px, odd.

    Returns:
        (S, H, W) bool.
    """
    square = np.ones((width, width), np.uint8)
    found = [cv2.morphologyEx(m.astype(np.uint8), cv2.MORPH_GRADIENT, square) > 0 for m in masks]
    return np.array(found, np.bool_).reshape(masks.shape)


def background(class_map: np.ndarray, *, size: tuple[int, int], factor: float) -> np.ndarray:
    """Q: where a class's map, stretched to 0..1, lies below `factor` times its mean.

    The stretch is the published code's too, hidden in the resizing function it uses: a raw map of negative mean would turn the threshold round.

    Args:
        class_map: (h, w) float, raw.
        size: (H, W) to which it is resized, bicubic.
        factor: Of the mean.

    Returns:
        (H, W) bool; nothing of a constant map.
    """
    low, high = float(class_map.min()), float(class_map.max())
    stretched = (class_map.astype(np.float32) - low) / max(high - low, 1e-12)
    fine = cv2.resize(stretched, size[::-1], interpolation=cv2.INTER_CUBIC)
    return fine < factor * fine.mean()


def overlaps(planes: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Sums of planes (P, H, W) float inside masks (S, H, W) bool: (P, S) float32."""
    pixels = planes.shape[1] * planes.shape[2]
    flat = planes.reshape(len(planes), pixels).astype(np.float32)
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
    """Score(S) = α R∗S + R∗Ŝ − β Q∗S of each proposal for each peak, ∗ the sum of the products; a weight of 0 switches its term off.

    Args:
        responses: (P, H, W) R, each of sum 1.
        backgrounds: (P, H, W) bool Q of each peak's class.
        masks: (S, H, W) bool.
        instance: α, of what of the response lies inside.
        boundary: Of what of it lies on the contour; 1 in the paper.
        class_penalty: β times the number of pixels, so that it does not depend on the image's size: of the share of the image that is inside and background.
        contour_width: Of `contours`.

    Returns:
        (P, S) float32.
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
    """Intersection over union of masks (A, H, W) and (B, H, W) bool: (A, B) float32; 0 where both are empty."""
    shared = overlaps(some, others)
    areas = some.sum((1, 2), dtype=np.float32)[:, None] + others.sum((1, 2), dtype=np.float32)[None] - shared
    return np.divide(shared, areas, out=np.zeros_like(shared), where=areas > 0)


def suppress(
    masks: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, *, overlap: float, within_class: bool
) -> np.ndarray:
    """Non-maximum suppression: from the best score down, what overlaps a kept mask too much is left out.

    Args:
        masks: (N, H, W) bool.
        scores: (N,).
        class_ids: (N,).
        overlap: A mask with an IoU of at least this with a kept one is left out; above 1 keeps all.
        within_class: Whether only masks of one class suppress each other.

    Returns:
        Kept numbers, best first; of equal scores the earlier first.
    """
    kept: list[int] = []
    for k in np.argsort(-scores, kind="stable"):
        rivals = [j for j in kept if class_ids[j] == class_ids[k] or not within_class]
        if not rivals or mask_iou(masks[k][None], masks[rivals]).max() < overlap:
            kept.append(int(k))
    return np.array(kept, np.int64)


def components(region: np.ndarray) -> list[np.ndarray]:
    """8-connected components of a region (H, W) bool, as masks (H, W) bool."""
    count, numbers = cv2.connectedComponents(region.astype(np.uint8), connectivity=8)
    return [numbers == k for k in range(1, count)]


def split_components(
    region: np.ndarray, places: Sequence[tuple[float, float]], responses: np.ndarray
) -> list[tuple[np.ndarray, int]]:
    """Instances of one class's region: a component with one peak is one, one with several is split, one without is none.

    A pixel of a component with several peaks goes to the peak that responds most to it, among equals to the nearest (the rule of one peak: BESTIE, Kim et al., CVPR 2022; the split: ours).

    Args:
        region: (H, W) bool, where the class is.
        places: (y, x) in px of the class's peaks.
        responses: (P, H, W) their response maps.

    Returns:
        Mask (H, W) bool and number of its peak, for each instance.
    """
    height, width = region.shape
    cells = [(min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)) for y, x in places]
    found: list[tuple[np.ndarray, int]] = []
    for component in components(region):
        inside = [k for k, cell in enumerate(cells) if component[cell]]
        if len(inside) < 2:
            found += [(component, k) for k in inside]
            continue
        y, x = np.nonzero(component)
        distance = np.stack([(y - cells[k][0]) ** 2 + (x - cells[k][1]) ** 2 for k in inside])
        strength = np.stack([responses[k][y, x] for k in inside])
        owner = np.lexsort((distance, -strength), axis=0)[0]
        for place, k in enumerate(inside):
            part = np.zeros_like(component)
            part[y[owner == place], x[owner == place]] = True
            found += [(part, k)] if part.any() else []
    return found
