"""Figures of instance masks: AP^r, best overlap, pointing. Pure.

AP^r is of Hariharan et al., "Simultaneous Detection and Segmentation" (SDS), ECCV 2014.

Shape legend: D detections and G true instances of one class in one image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

POINTS = np.linspace(0, 1, 101)
"""Recalls at which COCO's AP reads the precision."""


def overlap_matrix(some: np.ndarray, others: np.ndarray, *, void: np.ndarray | None = None) -> np.ndarray:
    """Compute the intersection over union of every pair of masks.

    Args:
        some: (D, H, W) bool.
        others: (G, H, W) bool.
        void: (H, W) bool, pixels that do not count.

    Returns:
        (D, G) float64 in [0, 1]; 0 where both are empty.
    """
    counted = np.ones(some.shape[1:], np.bool_) if void is None else ~void
    a, b = some[:, counted].astype(np.float32), others[:, counted].astype(np.float32)
    shared = (a @ b.T).astype(np.float64)
    union = a.sum(1)[:, None] + b.sum(1)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def void_shares(masks: np.ndarray, void: np.ndarray | None) -> np.ndarray:
    """Compute the share of each mask's own pixels that are void.

    Args:
        masks: (D, H, W) bool.
        void: (H, W) bool, or None.

    Returns:
        (D,) float64 in [0, 1]; 0 for an empty mask.
    """
    if void is None:
        return np.zeros(len(masks))
    areas = masks.sum((1, 2)).astype(np.float64)
    return np.divide(masks[:, void].sum(1), areas, out=np.zeros_like(areas), where=areas > 0)


def match(iou: np.ndarray, scores: np.ndarray, *, threshold: float) -> np.ndarray:
    """Decide which detections of an image and class are right, as SDS and COCO do.

    From the best score down, each takes the free true instance that it overlaps most, if that reaches the threshold.
    A second detection of an instance is wrong.

    Args:
        iou: (D, G).
        scores: (D,); of equal ones the earlier first.
        threshold: Least IoU, in (0, 1].

    Returns:
        (D,) bool.
    """
    right, free = np.zeros(len(scores), np.bool_), np.ones(iou.shape[1], np.bool_)
    for k in np.argsort(-scores, kind="stable"):
        if not free.any():
            break
        best = int(np.where(free, iou[k], -1).argmax())
        if iou[k, best] >= threshold:
            right[k], free[best] = True, False
    return right


def precision_recall(right: np.ndarray, scores: np.ndarray, *, truths: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute precision and recall after each detection of all images, from the best score down.

    Args:
        right: (N,) bool.
        scores: (N,).
        truths: Number of true instances, at least 1.

    Returns:
        Precision and recall, (N,) float64 each.
    """
    hits = np.cumsum(right[np.argsort(-scores, kind="stable")])
    return hits / np.arange(1, len(hits) + 1), hits / truths


def average_precision(precision: np.ndarray, recall: np.ndarray, *, points: np.ndarray | None = None) -> float:
    """Compute the area under the highest precision that is reached at a recall or beyond it.

    Args:
        precision: (N,) by falling score.
        recall: (N,), ascending.
        points: Recalls, ascending, at which that precision is averaged, as COCO does.
            None: every step of the curve, as SDS and VOC since 2010.

    Returns:
        In [0, 1]; 0 without detections.
    """
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if points is None:
        return float((np.diff(recall, prepend=0) * envelope).sum())
    reached = np.searchsorted(recall, points, side="left")
    return float(np.append(envelope, 0)[reached].mean())


@dataclass(frozen=True, kw_only=True)
class Overlaps:
    """One class in one image.

    Attributes:
        iou: (D, G), of detections with true instances.
        scores: (D,), of the detections.
        void: (D,), share of each detection's pixels that is void.
    """

    iou: np.ndarray
    scores: np.ndarray
    void: np.ndarray

    def judge(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Judge the detections that count.

        A detection does not count if it matches no true instance and at least the share `threshold` of its pixels is
        void. COCO treats crowds so: in pycocotools, the IoU with a crowd is the intersection over the detection's
        area, and a detection matched to a crowd is ignored.

        Returns:
            Which are right (N,) bool, and their scores (N,).
        """
        right = match(self.iou, self.scores, threshold=threshold)
        counts = right | (self.void < threshold)
        return right[counts], self.scores[counts]


class InstanceTally:
    """What is found and what is true, image by image.

    Attributes:
        found: Class id to the overlaps of its images.
    """

    def __init__(self) -> None:
        """No image yet."""
        self.found: dict[int, list[Overlaps]] = {}

    def add(
        self,
        masks: np.ndarray,
        class_ids: np.ndarray,
        scores: np.ndarray,
        *,
        truth: np.ndarray,
        truth_class_ids: np.ndarray,
        void: np.ndarray | None = None,
    ) -> None:
        """Count one image.

        Args:
            masks: (D, H, W) bool.
            class_ids: (D,).
            scores: (D,).
            truth: (G, H, W) bool.
            truth_class_ids: (G,).
            void: (H, W) bool, pixels that do not count. What is found on them is neither right nor wrong.
        """
        shares = void_shares(masks, void)
        for c in np.union1d(class_ids, truth_class_ids):
            own, true = class_ids == c, truth_class_ids == c
            iou = overlap_matrix(masks[own], truth[true], void=void)
            overlaps = Overlaps(iou=iou, scores=np.asarray(scores, np.float64)[own], void=shares[own])
            self.found.setdefault(int(c), []).append(overlaps)

    @property
    def classes(self) -> list[int]:
        """Classes that have a true instance, ascending."""
        return sorted(c for c in self.found if self._truths(c))

    def _truths(self, c: int) -> int:
        return sum(part.iou.shape[1] for part in self.found[c])

    def average_precisions(self, threshold: float, *, points: np.ndarray | None = None) -> dict[int, float]:
        """AP^r of each class that has a true instance, at an IoU threshold."""
        out = {}
        for c in self.classes:
            judged = [part.judge(threshold) for part in self.found[c]]
            right, scores = (np.concatenate(parts) for parts in zip(*judged, strict=True))
            out[c] = average_precision(*precision_recall(right, scores, truths=self._truths(c)), points=points)
        return out

    def best_overlaps(self) -> dict[int, np.ndarray]:
        """The largest IoU of each true instance with a detection of its class in its image, by class."""
        return {c: np.concatenate([part.iou.max(0, initial=0) for part in self.found[c]]) for c in self.classes}


def pointing_hits(places: Sequence[tuple[float, float]], boxes: Sequence[tuple[int, int, int, int]]) -> list[bool]:
    """Whether each place (y, x) is in one of the boxes (top, left, bottom, right), borders included."""
    return [any(top <= y <= bottom and left <= x <= right for top, left, bottom, right in boxes) for y, x in places]


def response_quality(response: np.ndarray, truth: np.ndarray) -> float:
    """Compute the largest share of a response that is inside one true instance: max over G of sum(R G) / sum(R).

    Args:
        response: (H, W), not negative.
        truth: (G, H, W) bool.

    Returns:
        In [0, 1]; 0 without instances.
    """
    total = float(response.sum())
    return max((float(response[mask].sum()) / total for mask in truth), default=0.0) if total > 0 else 0.0


def class_mean(values: Mapping[int, float]) -> float:
    """Plain mean over classes; 0 without any."""
    return float(np.mean(list(values.values()))) if values else 0.0
