"""The truth table row by row, the score-based way by hand, the label filter."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from wsss.stages.pseudo.seedmask import filter_labels, seeds_from_network, seeds_from_regions, seeds_from_scores

LOW, HIGH = 0.05, 0.5


@pytest.mark.parametrize(
    ("claimed_by", "saliency", "expected"),
    [
        ((), LOW, 0),
        ((), HIGH, 255),
        ((0,), HIGH, 7),
        ((1,), HIGH, 20),
        ((0,), LOW, 255),
        ((0, 1), HIGH, 255),
        ((0, 1), LOW, 255),
        ((0, 1, 2), HIGH, 255),
        ((), 0.06, 255),  # "below" is strict
        ((2,), 0.06, 3),
    ],
)
def test_truth_table(claimed_by: tuple[int, ...], saliency: float, expected: int) -> None:
    regions = np.zeros((3, 1, 2), bool)
    for k in claimed_by:
        regions[k, 0, 0] = True
    cue = np.array([[saliency, LOW]], np.float32)
    mask = seeds_from_regions(regions, [7, 20, 3], cue, saliency_threshold=0.06)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[expected, 0]]


@pytest.mark.parametrize(("claimed_by", "expected"), [((), 0), ((0,), 7), ((0, 1), 255)])
def test_truth_table_without_saliency(claimed_by: tuple[int, ...], expected: int) -> None:
    regions = np.zeros((2, 1, 1), bool)
    for k in claimed_by:
        regions[k] = True
    assert seeds_from_regions(regions, [7, 20], None, saliency_threshold=0.06).item() == expected


@pytest.mark.parametrize("maps", [2, 254, 256, 257, 512, 513])
def test_any_number_of_claims_on_one_pixel_is_ignored(maps: int) -> None:
    """A count of eight bits would read 256 claims as none and 257 as one; ids may repeat."""
    ids = 1 + np.arange(maps) % 254
    assert seeds_from_regions(np.ones((maps, 1, 1), bool), ids, None, saliency_threshold=0.06).item() == 255


def test_an_image_without_labels() -> None:
    cue = np.array([[LOW, HIGH]], np.float32)
    assert seeds_from_regions(np.zeros((0, 1, 2), bool), [], cue, saliency_threshold=0.06).tolist() == [[0, 255]]
    assert seeds_from_scores(np.zeros((0, 4, 4), np.float16), [], size=(2, 3), background=0.3).tolist() == [[0] * 3] * 2


def test_scores_by_hand() -> None:
    scores = np.array(
        [[[4.0, 1.0, -2.0, 2.0]], [[0.5, 1.0, 1.0, 0.4]]], np.float32
    )  # /max: 1, .25, 0, .5 and .5, 1, 1, .4
    before = scores.copy()
    assert seeds_from_scores(scores, [5, 9], size=(1, 4), background=0.3).tolist() == [[5, 9, 9, 5]]
    assert seeds_from_scores(scores, [5, 9], size=(1, 4), background=0.5).tolist() == [
        [5, 9, 9, 0]
    ]  # a tie is background
    cue = np.array([[1.0, 0.0, 0.99, 0.0]], np.float32)
    assert seeds_from_scores(scores, [5, 9], size=(1, 4), background=cue).tolist() == [[0, 9, 9, 5]]
    np.testing.assert_array_equal(scores, before)


def test_a_map_nowhere_positive_claims_nothing() -> None:
    assert not seeds_from_scores(np.full((1, 3, 3), -1.0, np.float32), [4], size=(6, 9), background=0.0).any()


def test_scores_are_upsampled_before_they_are_normalised() -> None:
    scores = np.zeros((1, 3, 5), np.float16)
    scores[0, 1, 2] = 2
    mask = seeds_from_scores(scores, [1], size=(30, 50), background=0.95)
    assert mask.shape == (30, 50)
    assert mask[14:16, 24:26].all()  # the upsampled maximum counts as 1
    assert 0 < mask.sum() < 30


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="saliency is"):
        seeds_from_regions(np.zeros((1, 4, 6), bool), [1], np.zeros((6, 4), np.float32), saliency_threshold=0.06)
    with pytest.raises(ValueError, match="2 class ids for 1 maps"):
        seeds_from_regions(np.zeros((1, 4, 6), bool), [1, 2], None, saliency_threshold=0.06)
    with pytest.raises(ValueError, match="outside 1"):
        seeds_from_scores(np.zeros((2, 4, 6), np.float32), [0, 2], size=(4, 6), background=0.3)
    with pytest.raises(ValueError, match="outside 1"):
        seeds_from_scores(np.zeros((2, 4, 6), np.float32), [255, 2], size=(4, 6), background=0.3)
    with pytest.raises(ValueError, match="background score"):
        seeds_from_scores(np.zeros((1, 4, 6), np.float32), [2], size=(4, 6), background=np.zeros((6, 4), np.float32))


def test_label_filter() -> None:
    mask = np.array([[0, 3, 7, 20, 255]], np.uint8)
    before = mask.copy()
    assert filter_labels(mask, np.array([3, 20], np.uint8)).tolist() == [[0, 3, 255, 20, 255]]
    assert filter_labels(mask, []).tolist() == [[0, 255, 255, 255, 255]]
    np.testing.assert_array_equal(mask, before)


def test_the_networks_own_decision() -> None:
    scores = np.array([[[0.3, 0.1, 0.4]], [[0.2, 0.6, 0.0]]])
    background = np.array([[0.25, 0.3, 0.4]])
    assert seeds_from_network(scores, background, [2, 5], size=(1, 3)).tolist() == [[2, 5, 0]]  # a tie is background
    assert (seeds_from_network(scores[:0], background, [], size=(2, 6)) == 0).all()
    with pytest.raises(ValueError, match="background map is"):
        seeds_from_network(scores, background[:, :2], [2, 5], size=(1, 3))


def test_the_networks_decision_is_made_after_upsampling() -> None:
    """Where the maps cross between two cells, not at a cell's border."""
    mask = seeds_from_network(np.array([[[1.0, 0.0]]]), np.array([[0.25, 0.25]]), [1], size=(1, 16))
    assert mask.sum() == int(np.sum(np.clip(1 - (np.arange(16) + 0.5 - 4) / 8, 0, 1) > 0.25))
    assert mask.sum() == 10


def test_scores_are_clipped_at_0_after_upsampling() -> None:
    """-4 and 4 upsampled by four: -4 -4 -3 -1 1 3 4 4; clipped before, 1.5 and 2.5 would stand in the middle."""
    mask = seeds_from_scores(np.array([[[-4.0, 4.0]]], np.float16), [6], size=(1, 8), background=0.3)
    assert mask.tolist() == [[0, 0, 0, 0, 0, 6, 6, 6]]


def test_the_networks_decision_is_made_in_full_precision() -> None:
    """0.5001 and 0.5 are one number in float16, where a tie would be background."""
    scores, background = np.array([[[0.5001, 0.4999]]], np.float32), np.array([[0.5, 0.5]], np.float32)
    assert seeds_from_network(scores, background, [3], size=(1, 2)).tolist() == [[3, 0]]


def slow_table(regions: np.ndarray, ids: list[int], saliency: np.ndarray | None, threshold: float) -> np.ndarray:
    """The truth table pixel by pixel."""
    out = np.full(regions.shape[1:], 255)
    for y, x in np.ndindex(out.shape):
        claims = [i for i, region in zip(ids, regions, strict=True) if region[y, x]]
        dark = saliency is not None and saliency[y, x] < threshold
        if not claims and (dark or saliency is None):
            out[y, x] = 0
        elif len(claims) == 1 and not dark:
            out[y, x] = claims[0]
    return out


def slow_bids(scores: np.ndarray, ids: list[int], background: np.ndarray) -> np.ndarray:
    """Maps at the size of the image: pixel by pixel the first of the highest bids, the background's first of all."""
    out = np.zeros(background.shape, int)
    for y, x in np.ndindex(out.shape):
        bids = [(0, background[y, x])]
        bids += [(i, max(0, s[y, x]) / s.max()) for i, s in zip(ids, scores, strict=True) if s.max() > 0]
        best = max(bid for _, bid in bids)
        out[y, x] = next(i for i, bid in bids if bid == best)
    return out


@hypothesis.settings(derandomize=True, database=None, max_examples=60, deadline=None)
@hypothesis.given(
    seed=st.integers(0, 999),
    classes=st.integers(0, 4),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_any_shape_and_class_count_agree_with_a_slow_reading(seed: int, classes: int, size: tuple[int, int]) -> None:
    """Values are eighths, so that ties and values at a threshold are common."""
    draw = np.random.default_rng(seed)
    ids = draw.permutation(np.arange(1, 255))[:classes].tolist()
    regions, cue = draw.random((classes, *size)) < 0.4, (draw.integers(0, 9, size) / 8).astype(np.float32)
    for saliency in (None, cue):
        found = seeds_from_regions(regions, ids, saliency, saliency_threshold=0.25)
        np.testing.assert_array_equal(found, slow_table(regions, ids, saliency, 0.25))
    scores = (draw.integers(-8, 9, (classes, *size)) / 8).astype(np.float32)
    found = seeds_from_scores(scores, ids, size=size, background=cue)
    np.testing.assert_array_equal(found, slow_bids(scores, ids, cue))
    own = np.concatenate([cue[None], scores])
    expected = np.array([0, *ids])[own.argmax(0)]
    np.testing.assert_array_equal(seeds_from_network(scores, cue, ids, size=size), expected)
    kept = ids[: classes // 2]
    filtered = filter_labels(expected.astype(np.uint8), kept)
    np.testing.assert_array_equal(filtered, np.where(np.isin(expected, [0, *kept]), expected, 255))
