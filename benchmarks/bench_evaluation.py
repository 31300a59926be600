"""The threshold sweep against the field's ways, in one run: `python benchmarks/bench_evaluation.py [--images 12]`.

Every way gets the same max-normalised maps at the image's size and must give the same matrices, integer for integer.
IRN's and SEAM's ways are re-implementations of the style, not the projects' code; reading files is excluded.
Maps and truths are drawn: smooth blobs of 1 to 3 classes at 375 x 500, truths that overlap them, with a 255 border.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import cv2
import numpy as np

from wsss.files.imaging import resize_maps
from wsss.stages.evaluate.confusion import Sweep, confusion, max_normalise_irn

CLASSES, SIZE, STRIDE, STEPS = 20, (375, 500), 16, 61
THRESHOLDS = np.linspace(0, 0.6, STEPS).astype(np.float32)
Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def draw_case(rng: np.random.Generator) -> Case:
    """(truth (H, W) uint8, raw maps (K, h, w) float16, class ids (K,), normalised maps (K, H, W) float32)."""
    h, w = (-(-s // STRIDE) for s in SIZE)
    class_ids = np.sort(
        rng.choice(np.arange(1, CLASSES + 1), rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1]), replace=False)
    )
    y, x = np.mgrid[:h, :w].astype(np.float32)
    raw, truth = [], np.zeros(SIZE, np.uint8)
    for k in class_ids:
        cy, cx, sy, sx = rng.uniform(0.2, 0.8) * h, rng.uniform(0.2, 0.8) * w, rng.uniform(2, 7), rng.uniform(2, 9)
        blob = (
            np.exp(-(((y - cy) / sy) ** 2) - ((x - cx) / sx) ** 2) * rng.uniform(4, 12) - 1 + rng.normal(0, 0.3, (h, w))
        )
        raw.append(blob)
        body = np.exp(-(((y - cy) / sy) ** 2) - ((x - cx * rng.uniform(0.9, 1.1)) / sx) ** 2)
        full = resize_maps(body[None].astype(np.float32), size=SIZE)[0]
        truth[full > 0.4] = k
        truth[(full > 0.38) & (full <= 0.4)] = 255
    maps = np.stack(raw).astype(np.float16)
    return truth, maps, class_ids, max_normalise_irn(resize_maps(maps.astype(np.float32), size=SIZE))


def seam_way(cases: list[Case]) -> np.ndarray:
    """SEAM's style: 21 planes of the image's size, argmax, three masks a class, for one threshold after the other.

    Only the diagonal and the sums are counted.
    """
    counts = np.zeros((STEPS, 3, CLASSES + 1), np.int64)
    for t, threshold in enumerate(THRESHOLDS):
        for truth, _, class_ids, maps in cases:
            planes = np.zeros((CLASSES + 1, *SIZE), np.float32)
            planes[class_ids] = maps
            planes[0] = threshold
            guess = planes.argmax(0).astype(np.uint8)
            valid = truth < 255
            for k in range(CLASSES + 1):
                guessed, true = (guess == k) & valid, (truth == k) & valid
                counts[t, :, k] += guessed.sum(), true.sum(), ((truth == guess) & true).sum()
    return counts


def irn_way(cases: list[Case]) -> np.ndarray:
    """IRN's style: the present classes' maps padded with the threshold, argmax, bincount, threshold by threshold."""
    n, out = CLASSES + 1, np.zeros((STEPS, CLASSES + 1, CLASSES + 1), np.int64)
    for t, threshold in enumerate(THRESHOLDS):
        for truth, _, class_ids, maps in cases:
            keys = np.pad(class_ids, (1, 0))
            guess = keys[np.argmax(np.pad(maps, ((1, 0), (0, 0), (0, 0)), constant_values=threshold), axis=0)]
            valid = truth < 255
            out[t] += np.bincount(n * truth[valid].astype(np.int64) + guess[valid], minlength=n * n).reshape(n, n)
    return out


def one_pass_numpy(cases: list[Case]) -> np.ndarray:
    """The histogram in numpy: the number of thresholds below each pixel's best score."""
    n, hist = CLASSES + 1, np.zeros((CLASSES + 1) ** 2 * (STEPS + 1), np.int64)
    for truth, _, class_ids, maps in cases:
        valid = truth < 255
        best, top = class_ids[maps.argmax(0)[valid]], maps.max(0)[valid]
        below = np.searchsorted(THRESHOLDS, top, side="left")
        hist += np.bincount((truth[valid].astype(np.int64) * n + best) * (STEPS + 1) + below, minlength=len(hist))
    out = hist.reshape(n, n, STEPS + 1)[:, :, ::-1].cumsum(2)[:, :, ::-1][:, :, 1:].transpose(2, 0, 1).copy()
    out[:, :, 0] = hist.reshape(n, -1).sum(1) - out[:, :, 1:].sum(2)
    return out


def one_pass(cases: list[Case]) -> np.ndarray:
    """Ours: `wsss.stages.evaluate.confusion.Sweep`."""
    sweep = Sweep(CLASSES, thresholds=THRESHOLDS)
    for truth, _, class_ids, maps in cases:
        sweep.add(truth, maps, class_ids=class_ids)
    return sweep.matrices()


def with_upsampling(cases: list[Case]) -> np.ndarray:
    """Ours, from the stored float16 maps: upsampling and normalising included."""
    sweep = Sweep(CLASSES, thresholds=THRESHOLDS)
    for truth, raw, class_ids, _ in cases:
        sweep.add(truth, max_normalise_irn(resize_maps(raw.astype(np.float32), size=SIZE)), class_ids=class_ids)
    return sweep.matrices()


def bincount_confusion(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """The field's confusion matrix of one mask."""
    valid, n = truth < 255, CLASSES + 1
    return np.bincount(n * truth[valid].astype(int) + guess[valid], minlength=n * n).reshape(n, n)


def seconds(function: Callable[[], object]) -> float:
    """Time of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument(
        "--repeats", type=int, default=3, help="rounds over all ways, which take turns; medians are printed"
    )
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    cases = [draw_case(rng) for _ in range(arguments.images)]
    ways = {
        "SEAM style, 21 planes": seam_way,
        "IRN style, pad + argmax + bincount": irn_way,
        "one pass, numpy": one_pass_numpy,
        "one pass, ours": one_pass,
    }
    ways["ours, upsampling included"] = with_upsampling
    expected = irn_way(cases)
    for name, way in ways.items():
        found = way(cases)  # compiles, too
        if way is seam_way:
            sums = np.stack([expected.sum(1), expected.sum(2), np.diagonal(expected, axis1=1, axis2=2)], axis=1)
            assert np.array_equal(found, sums), name
        else:
            assert np.array_equal(found, expected), name
    turns = [
        {name: seconds(lambda way=way: way(cases)) for name, way in ways.items()} for _ in range(arguments.repeats)
    ]
    print(f"sweep of {STEPS} thresholds, {len(cases)} images {SIZE[0]} x {SIZE[1]}, all counts equal\n")
    print("| way | ms an image | times IRN's speed |\n|---|---|---|")
    for name in ways:
        ratio = median(t["IRN style, pad + argmax + bincount"] / t[name] for t in turns)
        print(f"| {name} | {median(t[name] for t in turns) / len(cases) * 1e3:.2f} | x{ratio:.3g} |")
    pairs = [(truth, class_ids[maps.argmax(0)].astype(np.uint8)) for truth, _, class_ids, maps in cases]
    assert all(np.array_equal(confusion(t, g, num_classes=CLASSES)[:, :-1], bincount_confusion(t, g)) for t, g in pairs)
    masks = {"bincount, the common code": bincount_confusion, "ours": lambda t, g: confusion(t, g, num_classes=CLASSES)}
    rounds = [
        {name: seconds(lambda way=way: [way(t, g) for t, g in pairs]) for name, way in masks.items()}
        for _ in range(5 * arguments.repeats)
    ]
    print("\n| confusion matrix of a mask | ms an image | speed |\n|---|---|---|")
    for name in masks:
        spent = median(r[name] for r in rounds) / len(pairs) * 1e3
        ratio = median(r["bincount, the common code"] / r[name] for r in rounds)
        print(f"| {name} | {spent:.2f} | x{ratio:.3g} |")


if __name__ == "__main__":
    main()
