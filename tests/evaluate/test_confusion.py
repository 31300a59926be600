"""Confusion matrices, figures and the sweep, against closed forms and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss.stages.evaluate.confusion import BUCKETS, EPSILON, Sweep, confusion, figures, max_normalise_irn


def slow_confusion(truth: np.ndarray, guess: np.ndarray, *, num_classes: int) -> np.ndarray:
    out = np.zeros((num_classes + 1, num_classes + 2), np.int64)
    for t, g in zip(truth.ravel().tolist(), guess.ravel().tolist(), strict=True):
        if t != 255:
            out[t, num_classes + 1 if g == 255 else g] += 1
    return out


def naive_sweep(
    truth: np.ndarray, maps: np.ndarray, *, class_ids: np.ndarray, thresholds: np.ndarray, num_classes: int
) -> np.ndarray:
    """IRN's way: a constant background plane, argmax, bincount, for one threshold after the other.

    Of equal planes argmax picks the first, the background.
    """
    n, valid, keys, out = num_classes + 1, truth < 255, np.concatenate([[0], class_ids]).astype(np.int64), []
    for threshold in thresholds:
        planes = np.concatenate([np.full((1, *truth.shape), threshold, np.float32), maps])
        guess = keys[planes.argmax(0)]
        out.append(np.bincount(n * truth[valid].astype(np.int64) + guess[valid], minlength=n * n).reshape(n, n))
    return np.stack(out)


# ---------------------------------------------------------------- confusion


def test_a_hand_worked_case() -> None:
    truth = np.array([[0, 0, 1], [1, 2, 255]], np.uint8)
    guess = np.array([[0, 1, 1], [255, 0, 2]], np.uint8)
    assert confusion(truth, guess, num_classes=2).tolist() == [[1, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0]]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 254))
def test_confusion_equals_the_plain_loop(seed: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.append(np.arange(num_classes + 1), 255).astype(np.uint8)
    truth, guess = rng.choice(values, (2, 5, 7))
    kept = truth.copy(), guess.copy()
    np.testing.assert_array_equal(
        confusion(truth, guess, num_classes=num_classes), slow_confusion(truth, guess, num_classes=num_classes)
    )
    np.testing.assert_array_equal(
        confusion(truth.T, guess.T, num_classes=num_classes), slow_confusion(truth, guess, num_classes=num_classes)
    )
    np.testing.assert_array_equal((truth, guess), kept)


@pytest.mark.parametrize(
    ("truth", "guess", "words"),
    [
        ([[0, 3]], [[0, 0]], "truth holds 3"),
        ([[0, 1]], [[0, 7]], "guess holds 7"),
        ([[255, 1]], [[254, 1]], "guess holds 254"),
    ],
)
def test_illegal_values_are_refused(truth: list, guess: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        confusion(np.array(truth, np.uint8), np.array(guess, np.uint8), num_classes=2)


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        confusion(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), num_classes=1)


# ---------------------------------------------------------------- figures


def test_figures_by_hand() -> None:
    """Class 2 is absent and guessed nowhere.

    Background: 6 px, 4 right, 1 as class 1, 1 unanswered. Class 1: 4 px, 2 right, 1 as background, 1 unanswered.
    """
    f = figures(np.array([[4, 1, 0, 1], [1, 2, 0, 1], [0, 0, 0, 0]]))
    np.testing.assert_allclose(f["iou"], [4 / 7, 2 / 5, np.nan])
    np.testing.assert_allclose(f["precision"], [4 / 5, 2 / 3, np.nan])
    np.testing.assert_allclose(f["recall"], [4 / 6, 2 / 4, np.nan])
    assert f["miou"] == pytest.approx((4 / 7 + 2 / 5) / 2)
    assert f["mean_precision"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert f["mean_recall"] == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert (f["pixel_accuracy"], f["coverage"]) == (pytest.approx(0.6), pytest.approx(0.8))


def test_labelled_only_leaves_unanswered_pixels_out_of_every_count() -> None:
    matrix = np.array([[4, 1, 0, 1], [1, 2, 0, 1], [0, 0, 0, 0]])
    f, without = figures(matrix, labelled_only=True), figures(matrix[:, :3])
    for name in ("iou", "precision", "recall", "miou", "mean_precision", "mean_recall", "pixel_accuracy"):
        np.testing.assert_allclose(f[name], without[name])
    assert f["coverage"] == pytest.approx(0.8)
    np.testing.assert_allclose(f["precision"], figures(matrix)["precision"])  # precision has no unanswered pixels in it


def test_never_answering_a_class_does_not_pay() -> None:
    """The class stays in the mean of miou_labelled, as 0, although none of its pixels is left."""
    f = figures(np.array([[5, 0, 0], [0, 0, 5]]), labelled_only=True)
    assert f["iou"].tolist() == [1, 0]
    assert f["miou"] == 0.5


def test_a_class_absent_from_the_truth_costs_the_others_and_is_not_averaged() -> None:
    f = figures(np.array([[6, 2], [0, 0]]))
    assert np.isnan(f["iou"][1])
    assert (f["miou"], f["mean_precision"], f["mean_recall"]) == (0.75, 1, 0.75)


def test_a_class_never_guessed_counts_as_zero() -> None:
    f = figures(np.array([[5, 0], [5, 0]]))
    assert f["precision"].tolist() == [0.5, 0]
    assert (f["mean_precision"], f["mean_recall"], f["miou"]) == (0.25, 0.5, 0.25)


def test_perfect_and_empty() -> None:
    assert figures(np.diag([3, 4, 5]))["miou"] == figures(np.diag([3, 4, 5]))["pixel_accuracy"] == 1
    f = figures(np.zeros((3, 4), np.int64))
    assert (f["miou"], f["pixel_accuracy"], f["coverage"]) == (0, 0, 0)


def test_figures_equal_the_field_s_where_every_class_occurs() -> None:
    """The reference averages over all classes with max(1, count); equal to ours when all occur."""
    m = np.random.default_rng(0).integers(1, 99, (21, 21))
    hit, true, guessed = np.diag(m), m.sum(1), m.sum(0)
    f = figures(m)
    assert f["miou"] == pytest.approx((hit / np.maximum(1, true + guessed - hit)).mean())
    assert f["mean_precision"] == pytest.approx((hit / np.maximum(1, guessed)).mean())
    assert f["mean_recall"] == pytest.approx((hit / np.maximum(1, true)).mean())


# ---------------------------------------------------------------- sweep


def borderline_case(
    seed: int, *, num_classes: int, size: tuple[int, int], thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores on thresholds, one float32 step beside them, on bucket edges, equal between classes, 0 and 1."""
    rng = np.random.default_rng(seed)
    class_ids = np.sort(
        rng.choice(np.arange(1, num_classes + 1), rng.integers(1, min(4, num_classes) + 1), replace=False)
    )
    edges = (rng.integers(0, BUCKETS + 1, 20) / BUCKETS).astype(np.float32)
    around = np.concatenate([thresholds, edges])
    pool = np.concatenate(
        [
            around,
            np.nextafter(around, np.float32(2)),
            np.nextafter(around, np.float32(0)),
            rng.random(20, np.float32),
            [0, 1],
        ]
    ).astype(np.float32)
    maps = rng.choice(pool, (len(class_ids), *size))
    maps[:, : size[0] // 2] = maps[:1, : size[0] // 2]  # ties between classes
    truth = rng.choice(np.append(np.arange(num_classes + 1), 255).astype(np.uint8), size)
    return truth, maps, class_ids


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.sampled_from([1, 2, 61, 101, 1001]))
def test_the_sweep_equals_the_naive_loop_exactly(seed: int, num_classes: int, steps: int) -> None:
    thresholds = (
        np.unique(np.append(np.linspace(0, 1, steps), 0.3).astype(np.float32))
        if steps > 1
        else np.array([0.5], np.float32)
    )
    sweep, slow = Sweep(num_classes, thresholds=thresholds), 0
    for k in range(3):
        truth, maps, class_ids = borderline_case(
            seed + k, num_classes=num_classes, size=(6, 5 + k), thresholds=thresholds
        )
        kept = maps.copy()
        sweep.add(truth, maps, class_ids=class_ids)
        slow = slow + naive_sweep(truth, maps, class_ids=class_ids, thresholds=thresholds, num_classes=num_classes)
        np.testing.assert_array_equal(maps, kept)
    np.testing.assert_array_equal(sweep.matrices(), slow)


def test_a_score_equal_to_the_threshold_is_background() -> None:
    sweep = Sweep(1, thresholds=np.array([0.25, 0.5], np.float32))
    sweep.add(
        np.array([[1, 1, 1]], np.uint8),
        np.array([[[0.25, 0.5, np.nextafter(np.float32(0.5), np.float32(1))]]], np.float32),
        class_ids=np.array([1]),
    )
    assert sweep.matrices()[:, 1].tolist() == [[1, 2], [2, 1]]


def test_the_sweep_from_raw_maps_equals_the_naive_loop() -> None:
    """Signed float16 maps on a coarse grid, as they are stored, at an image's size that is no multiple of it."""
    from wsss.files.imaging import resize_maps

    rng = np.random.default_rng(3)
    thresholds = np.linspace(0, 1, 101).astype(np.float32)
    sweep, slow = Sweep(5, thresholds=thresholds), 0
    for k in range(3):
        raw = rng.normal(size=(2, 5, 7)).astype(np.float16)
        full = max_normalise_irn(resize_maps(raw.astype(np.float32), size=(43, 61 + k)))
        truth = rng.integers(0, 6, full.shape[1:]).astype(np.uint8)
        sweep.add(truth, full, class_ids=np.array([2, 4]))
        slow = slow + naive_sweep(truth, full, class_ids=np.array([2, 4]), thresholds=thresholds, num_classes=5)
    np.testing.assert_array_equal(sweep.matrices(), slow)


def test_an_image_without_classes_and_negative_scores_are_background() -> None:
    sweep = Sweep(2, thresholds=np.array([0, 0.5], np.float32))
    truth = np.array([[0, 1, 2, 255]], np.uint8)
    sweep.add(truth, np.zeros((0, 1, 4), np.float32), class_ids=np.zeros(0, np.uint8))
    sweep.add(truth, np.array([[[-1, -0.5, 0, -np.inf]]], np.float32), class_ids=np.array([1]))
    assert sweep.matrices().tolist() == [[[2, 0, 0], [2, 0, 0], [2, 0, 0]]] * 2


def test_every_matrix_counts_every_pixel_with_truth() -> None:
    thresholds = np.linspace(0, 1, 11).astype(np.float32)
    truth, maps, ids = borderline_case(5, num_classes=4, size=(9, 9), thresholds=thresholds)
    sweep = Sweep(4, thresholds=thresholds)
    sweep.add(truth, maps, class_ids=ids)
    assert set(sweep.matrices().sum((1, 2))) == {(truth != 255).sum()}


@pytest.mark.parametrize(
    ("truth", "shape", "ids", "words"),
    [
        ([[0, 9]], (1, 1, 2), [1], "truth holds 9"),
        ([[0, 1]], (1, 2, 1), [1], "as the truth mask is"),
        ([[0, 1]], (1, 1, 2), [3], "expected 1..2"),
        ([[0, 1]], (1, 1, 2), [0], "expected 1..2"),
    ],
)
def test_the_sweep_refuses_what_it_cannot_count(truth: list, shape: tuple, ids: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Sweep(2, thresholds=np.array([0.5], np.float32)).add(
            np.array(truth, np.uint8), np.full(shape, 0.9, np.float32), class_ids=np.array(ids)
        )


def test_thresholds_must_ascend() -> None:
    for wrong in ([0.5, 0.5], [0.5, 0.1], [-0.1, 0.5]):
        with pytest.raises(AssertionError):
            Sweep(1, thresholds=np.array(wrong, np.float32))


# ---------------------------------------------------------------- normalising


def test_max_normalise() -> None:
    maps = np.array([[[-2.0, 0.5], [1.0, 2.0]], [[-1.0, -3.0], [-0.5, -1.0]]], np.float32)
    kept = maps.copy()
    out = max_normalise_irn(maps)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[0], [[0, 0.5 / (2 + EPSILON)], [1 / (2 + EPSILON), 2 / (2 + EPSILON)]], rtol=1e-6)
    assert not out[1].any()  # nowhere positive: stays 0, no division by 0
    assert out.max() < 1
    np.testing.assert_array_equal(maps, kept)
    assert max_normalise_irn(np.zeros((0, 3, 4), np.float32)).shape == (0, 3, 4)
