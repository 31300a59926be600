"""Confusion matrices, what is read off them, and the one-pass threshold sweep. Pure.

Shape legend: C foreground classes, K present classes, H×W image, T thresholds.
"""

from __future__ import annotations

import numba
import numpy as np

IGNORE = 255
EPSILON = 1e-5
"""Added to a map's maximum before dividing, as the field does (IRN): a zero map stays zero."""


def confusion(truth: np.ndarray, guess: np.ndarray, *, num_classes: int) -> np.ndarray:
    """Counts of (truth, guess) pairs.

    Args:
        truth: (H, W) uint8, 0..C or 255; pixels of 255 are left out.
        guess: (H, W) uint8, 0..C or 255; 255 (no answer) has the last column.
        num_classes: C.

    Returns:
        (C + 1, C + 2) int64.

    Raises:
        ValueError: If the sizes differ or a value is neither a class nor 255.
    """
    if truth.shape != guess.shape:
        raise ValueError(f"truth is {truth.shape}, guess {guess.shape}: both must have the image's (height, width)")
    n = num_classes + 1
    for name, mask in (("truth", truth), ("guess", guess)):
        bad = mask[(mask > num_classes) & (mask != IGNORE)]
        if bad.size:
            raise ValueError(f"{name} holds {int(bad[0])}, expected 0..{num_classes} or 255")
    valid = truth != IGNORE
    column = np.where(guess[valid] == IGNORE, n, guess[valid])
    pairs = truth[valid].astype(np.int64) * (n + 1) + column
    return np.bincount(pairs, minlength=n * (n + 1)).reshape(n, n + 1)


def figures(matrix: np.ndarray, *, labelled_only: bool = False) -> dict[str, np.ndarray | float]:
    """What is read off a confusion matrix.

    Args:
        matrix: (C + 1, C + 1) or (C + 1, C + 2) counts, rows truth; a last extra column is 255, no answer.
        labelled_only: Leave pixels without an answer out; otherwise they count as wrong.

    Returns:
        iou, precision, recall: (C + 1,) float64, NaN for a class that does not occur in the truth; miou and means over background and the classes
        that occur in the truth (precision of a class never guessed counts 0); pixel_accuracy; coverage, the share of pixels with an answer. All in [0, 1].
    """
    n = len(matrix)
    answered = matrix[:, :n].astype(np.float64)
    hit, guessed = np.diag(answered), answered.sum(0)
    true = answered.sum(1) if labelled_only else matrix.sum(1).astype(np.float64)
    occurs = matrix.sum(1) > 0
    nan = np.full(n, np.nan)
    iou = np.divide(hit, true + guessed - hit, out=np.zeros(n), where=true + guessed - hit > 0)
    precision = np.divide(hit, guessed, out=np.zeros(n), where=guessed > 0)
    recall = np.divide(hit, true, out=np.zeros(n), where=true > 0)
    iou, precision, recall = (np.where(occurs, v, nan) for v in (iou, precision, recall))
    total, known = float(matrix.sum()), float(answered.sum())
    whole = known if labelled_only else total
    return {
        "iou": iou, "precision": precision, "recall": recall, "miou": _mean(iou), "mean_precision": _mean(precision), "mean_recall": _mean(recall),
        "pixel_accuracy": float(hit.sum() / whole) if whole else 0.0, "coverage": known / total if total else 0.0,
    }  # fmt: skip


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0


class Sweep:
    """Confusion matrices at every constant background threshold from one pass over the pixels.

    A pixel's guess is its strongest class where that score is strictly above the threshold, else background. So a pixel only matters by how many thresholds lie below its score:
    a histogram over (truth, class, that number), summed from the top, gives every matrix, exactly.
    """

    def __init__(self, num_classes: int, *, thresholds: np.ndarray) -> None:
        """An empty sweep.

        Args:
            num_classes: C.
            thresholds: (T,) float32, ascending.
        """
        self.num_classes = num_classes
        self.thresholds = np.ascontiguousarray(thresholds, np.float32)
        assert (np.diff(self.thresholds) > 0).all(), "thresholds must ascend"
        self._hist = np.zeros((num_classes + 1, num_classes + 1, len(thresholds) + 1), np.int64)

    def add(self, truth: np.ndarray, maps: np.ndarray, *, class_ids: np.ndarray) -> None:
        """Count one image.

        Args:
            truth: (H, W) uint8; 255 is left out.
            maps: (K, H, W) float32, max-normalised.
            class_ids: (K,) ids 1..C of the maps.
        """
        if len(class_ids) == 0:
            counts = np.bincount(truth[truth != IGNORE].ravel(), minlength=self.num_classes + 1)
            self._hist[:, 0, 0] += counts
            return
        _count(self._hist, truth, np.ascontiguousarray(maps, np.float32), class_ids.astype(np.int64), self.thresholds)

    def matrices(self) -> np.ndarray:
        """(T, C + 1, C + 1) int64, rows truth."""
        above = self._hist[:, :, ::-1].cumsum(2)[:, :, ::-1]  # pixels with at least b thresholds below their score
        out = above[:, :, 1:].transpose(2, 0, 1).copy()
        out[:, :, 0] = self._hist.sum((1, 2))[None] - out[:, :, 1:].sum(2)
        return out


@numba.njit(cache=True)
def _count(hist, truth, maps, class_ids, thresholds):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    for y in range(truth.shape[0]):
        for x in range(truth.shape[1]):
            t = truth[y, x]
            if t == 255:
                continue
            best, top = 0, maps[0, y, x]
            for k in range(1, maps.shape[0]):
                if maps[k, y, x] > top:
                    best, top = k, maps[k, y, x]
            low, high = 0, len(thresholds)  # binary search: thresholds strictly below the score
            while low < high:
                middle = (low + high) // 2
                if thresholds[middle] < top:
                    low = middle + 1
                else:
                    high = middle
            hist[t, class_ids[best], low] += 1


def max_normalise(maps: np.ndarray) -> np.ndarray:
    """relu(m) / (max(m) + EPSILON) of each map (K, H, W), float32 in [0, 1)."""
    positive = np.maximum(maps, 0).astype(np.float32)
    return positive / (positive.max(axis=(1, 2), keepdims=True, initial=0) + np.float32(EPSILON))
