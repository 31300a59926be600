"""Confusion matrices, what is read off them, and the one-pass threshold sweep. Pure.

Shape legend: C foreground classes, K present classes, H×W image, T thresholds.
docs/METRICS.md says what each figure means.
"""

from __future__ import annotations

import numba
import numpy as np

from wsss.files.mask_values import IGNORE

EPSILON = 1e-5
"""Added to a map's maximum before dividing, as IRN's make_cam does. A zero map stays zero."""
BUCKETS = 1024
"""Equal parts of [0, 1) in which a score is looked up before thresholds are compared.

A power of two, so that the look-up is exact in float32.
"""


def confusion(truth: np.ndarray, guess: np.ndarray, *, num_classes: int) -> np.ndarray:
    """Count (truth, guess) pairs of pixels.

    Args:
        truth: (H, W) uint8, 0..C or 255; pixels of 255 are left out.
        guess: (H, W) uint8, 0..C or 255; 255 (no answer) has the last column.
        num_classes: C.

    Returns:
        (C + 1, C + 2) int64, rows truth.

    Raises:
        ValueError: If the sizes differ or a value is neither a class nor 255.
    """
    if truth.shape != guess.shape:
        raise ValueError(f"truth is {truth.shape}, guess {guess.shape}: both must have the image's (height, width)")
    assert truth.dtype == guess.dtype == np.uint8, "masks are uint8"
    matrix = np.zeros((num_classes + 1, num_classes + 2), np.int64)
    bad = _count_pairs(matrix, np.ascontiguousarray(truth).ravel(), np.ascontiguousarray(guess).ravel())
    if bad:
        raise ValueError(f"{'truth' if bad > 0 else 'guess'} holds {abs(bad)}, expected 0..{num_classes} or {IGNORE}")
    return matrix


def figures(matrix: np.ndarray, *, labelled_only: bool = False) -> dict[str, np.ndarray | float]:
    """Compute the figures of a confusion matrix.

    Args:
        matrix: (C + 1, C + 1) or (C + 1, C + 2) counts, rows truth; a last extra column is 255, no answer.
        labelled_only: Leave pixels without an answer out; otherwise they count as wrong.
            The classes averaged stay the same, so that never answering a class does not pay.

    Returns:
        All in [0, 1]; 0 where there is no pixel at all.
        iou, precision, recall: (C + 1,) float64, NaN for a class that does not occur in the truth.
        miou, mean_precision, mean_recall: over background and the classes that occur in the truth.
        The precision of a class that is never guessed counts 0.
        pixel_accuracy; coverage: the share of pixels with an answer.
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
        "iou": iou,
        "precision": precision,
        "recall": recall,
        "miou": _mean(iou),
        "mean_precision": _mean(precision),
        "mean_recall": _mean(recall),
        "pixel_accuracy": float(hit.sum() / whole) if whole else 0.0,
        "coverage": known / total if total else 0.0,
    }


def _mean(values: np.ndarray) -> float:
    """Mean of the numbers that are not NaN; 0 without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0


class Sweep:
    """Confusion matrices at every constant background threshold from one pass over the pixels.

    A pixel's guess is its strongest class where that score is strictly above the threshold, else background.
    So a pixel matters only by the number of thresholds below its score. A histogram over (truth, class, number),
    summed from the top, gives every matrix exactly.
    """

    def __init__(self, num_classes: int, *, thresholds: np.ndarray) -> None:
        """Make an empty sweep.

        Args:
            num_classes: C.
            thresholds: (T,) float32, ascending, not negative.
        """
        self.num_classes = num_classes
        self.thresholds = np.ascontiguousarray(thresholds, np.float32)
        assert (np.diff(self.thresholds, prepend=np.float32(-1)) > 0).all(), "thresholds must ascend"
        assert self.thresholds[0] >= 0, "thresholds must not be negative"
        self._hist = np.zeros((num_classes + 1, num_classes + 1, len(thresholds) + 1), np.int64)
        self._start = np.searchsorted(self.thresholds, np.arange(BUCKETS + 1, dtype=np.float32) / BUCKETS, side="left")

    def add(self, truth: np.ndarray, maps: np.ndarray, *, class_ids: np.ndarray) -> None:
        """Count one image.

        Args:
            truth: (H, W) uint8; 255 is left out.
            maps: (K, H, W) float32, max-normalised; of equal scores the first class wins.
            class_ids: (K,) ids 1..C of the maps; no background map, because the threshold stands for it.

        Raises:
            ValueError: If sizes differ, a class id is not 1..C, or the truth holds neither a class nor 255.
        """
        expected = (len(class_ids), *truth.shape)
        if maps.shape != expected:
            raise ValueError(
                f"maps are {maps.shape}, expected (classes, height, width) {expected} as the truth mask is"
            )
        ids = np.asarray(class_ids, np.int64)
        if ((ids < 1) | (ids > self.num_classes)).any():
            raise ValueError(f"class ids {ids.tolist()}, expected 1..{self.num_classes}")
        planes = np.ascontiguousarray(maps, np.float32).reshape(len(ids), truth.size)  # (K, H W)
        if not ids.size:  # every pixel is background: one map that is nowhere above a threshold
            ids, planes = np.zeros(1, np.int64), np.zeros((1, truth.size), np.float32)
        pixels = np.ascontiguousarray(truth).ravel()
        bad = _count_scores(self._hist, pixels, planes, ids, self.thresholds, self._start)
        if bad:
            raise ValueError(f"truth holds {bad}, expected 0..{self.num_classes} or {IGNORE}")

    def matrices(self) -> np.ndarray:
        """(T, C + 1, C + 1) int64, rows truth."""
        above = self._hist[:, :, ::-1].cumsum(2)[:, :, ::-1]  # pixels with at least b thresholds below their score
        out = above[:, :, 1:].transpose(2, 0, 1).copy()
        out[:, :, 0] = self._hist.sum((1, 2))[None] - out[:, :, 1:].sum(2)
        return out


def max_normalise_irn(maps: np.ndarray) -> np.ndarray:
    """Normalise score maps as IRN does: relu(m) / (max(relu(m)) + 1e-5).

    A map's maximum becomes slightly less than 1: the threshold of the sweep is compared with these values.

    Args:
        maps: (K, H, W) raw scores.

    Returns:
        (K, H, W) float32 in [0, 1]; a map that is nowhere positive becomes 0.
    """
    positive = np.maximum(maps, 0, dtype=np.float32)
    positive /= positive.max(axis=(1, 2), keepdims=True, initial=0) + np.float32(EPSILON)
    return positive


@numba.njit(cache=True)
def _count_pairs(matrix, truth, guess):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Count flat masks into (C + 1, C + 2).

    Returns 0, or the first illegal value: as it is if in the truth, negative if in the guess.
    """
    n = matrix.shape[0]
    for p in range(truth.size):
        t, g = np.int64(truth[p]), np.int64(guess[p])
        if g >= n:
            if g != 255:
                return -g
            g = n
        if t >= n:
            if t != 255:
                return t
            continue
        matrix[t, g] += 1
    return 0


@numba.njit(cache=True)
def _count_scores(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    hist, truth, maps, class_ids, thresholds, start
):
    """Count a flat image into (C + 1, C + 1, T + 1); returns 0, or the first illegal truth value."""
    n, top_bucket, lowest = hist.shape[0], len(start) - 1, thresholds[0]
    for p in range(truth.size):
        t = np.int64(truth[p])
        if t >= n:
            if t != 255:
                return t
            continue
        best, top = 0, maps[0, p]
        for k in range(1, maps.shape[0]):
            if maps[k, p] > top:
                best, top = k, maps[k, p]
        below = 0  # thresholds strictly below the score
        if top > lowest:
            below = start[top_bucket if top >= 1 else int(top * np.float32(top_bucket))]
            while below < len(thresholds) and thresholds[below] < top:
                below += 1
        hist[t, class_ids[best], below] += 1
    return 0
