"""Claiming and fusing, worked by hand on 2x2 maps."""

from __future__ import annotations

import numpy as np
import pytest

from wsss.stages.seeds.regions import claim, fuse_probabilities, fuse_scores, fuse_weighted, relu_over_max, unite

MAP = np.array([[[4.0, 1.0], [-4.0, 0.5]]], np.float32)


@pytest.mark.parametrize(
    ("normalise", "threshold", "expected"),
    [
        ("signed_max", 0.2, [[True, True], [False, False]]),  # above 0.8
        ("signed_max", 0.1, [[True, True], [False, True]]),  # above 0.4
        ("signed_max", 0.25, [[True, False], [False, False]]),  # above 1, which 1 is not
        ("relu_max", 0.2, [[True, True], [False, False]]),
        ("relu_max", 0.1, [[True, True], [False, True]]),
        ("minmax", 0.2, [[True, True], [False, True]]),  # above -4 + 0.2 * 8 = -2.4
        ("minmax", 0.6, [[True, True], [False, False]]),  # above 0.8
        ("minmax", 0.7, [[True, False], [False, False]]),  # above 1.6
    ],
)
def test_claims_by_hand(normalise, threshold, expected):
    np.testing.assert_array_equal(claim(MAP, size=(2, 2), rel_threshold=threshold, normalise=normalise)[0], expected)


def test_a_claim_is_made_after_upsampling():
    """[0, 4] upsampled by four has the values 0 0 .5 1.5 2.5 3.5 4 4."""
    found = claim(np.array([[[0.0, 4.0]]]), size=(1, 8), rel_threshold=0.5, normalise="signed_max")
    np.testing.assert_array_equal(found[0, 0], [False] * 4 + [True] * 4)
    found = claim(np.array([[[0.0, 4.0]]]), size=(1, 8), rel_threshold=0.3, normalise="signed_max")
    np.testing.assert_array_equal(found[0, 0], [False] * 3 + [True] * 5)


@pytest.mark.parametrize("normalise", ["signed_max", "relu_max", "minmax"])
def test_a_map_that_is_nowhere_positive_claims_nothing(normalise):
    scores = np.stack([np.array([[-1.0, -2.0], [-3.0, -4.0]]), np.zeros((2, 2)), MAP[0]])
    found = claim(scores, size=(2, 2), rel_threshold=0.2, normalise=normalise)
    assert found.dtype == bool
    assert found.any((1, 2)).tolist() == [False, False, True]


def test_each_class_is_claimed_by_itself():
    scores = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float16)
    found = claim(scores, size=(20, 28), rel_threshold=0.3, normalise="signed_max")
    assert found.shape == (3, 20, 28)
    for k in range(3):
        np.testing.assert_array_equal(
            found[k], claim(scores[k : k + 1] * 8, size=(20, 28), rel_threshold=0.3, normalise="signed_max")[0]
        )


def test_no_class_claims_nothing():
    assert claim(np.zeros((0, 2, 2), np.float16), size=(4, 5), rel_threshold=0.2, normalise="minmax").shape == (0, 4, 5)


def test_relu_over_max():
    found = relu_over_max(np.array([[[2.0, 4.0], [-8.0, 0.0]], [[0.0, -1.0], [0.0, 0.0]]], np.float16))
    np.testing.assert_array_equal(found, [[[0.5, 1.0], [0, 0]], [[0, 0], [0, 0]]])
    assert found.dtype == np.float32


def test_each_class_is_divided_by_its_own_maximum():
    found = relu_over_max(np.array([[[2.0, 1.0, 0.0]], [[-3.0, 16.0, 4.0]]]))
    np.testing.assert_array_equal(found, [[[1, 0.5, 0]], [[0, 1, 0.25]]])


def test_fused_scores_by_hand():
    first, second = np.array([[[4.0, 1.0], [0.0, -1.0]]]), np.array([[[-1.0, 5.0], [10.0, 2.0]]])
    np.testing.assert_allclose(fuse_scores([first, second], later_weight=1.0), [[[1, 0.5], [1, 0.2]]])
    np.testing.assert_allclose(fuse_scores([first, second], later_weight=0.5), [[[1, 0.25], [0.5, 0.1]]])
    np.testing.assert_allclose(
        fuse_scores([first * 0, first * 0, second], later_weight=0.5), [[[0, 0.125], [0.25, 0.05]]]
    )
    assert fuse_scores([np.zeros((0, 2, 2))], later_weight=1.0).shape == (0, 2, 2)


def test_one_round_fused_is_the_round():
    scores, regions = np.random.default_rng(0).normal(size=(2, 3, 4)), np.random.default_rng(1).random((2, 6, 8)) > 0.5
    np.testing.assert_array_equal(fuse_scores([scores], later_weight=0.3), relu_over_max(scores))
    np.testing.assert_array_equal(unite([regions]), regions)


def test_unite():
    a, b = np.array([[[True, False, False]]]), np.array([[[False, False, True]]])
    np.testing.assert_array_equal(unite([a, b]), [[[True, False, True]]])


def test_nothing_is_mutated():
    scores, regions = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32), np.zeros((1, 2, 2), bool)
    before = scores.copy()
    for array in (scores, regions):
        array.setflags(write=False)
    for normalise in ("signed_max", "relu_max", "minmax"):
        claim(scores, size=(3, 3), rel_threshold=0.2, normalise=normalise)
    fuse_scores([scores, scores], later_weight=0.5)
    unite([regions])[...] = True
    relu_over_max(scores)[...] = 7
    np.testing.assert_array_equal(scores, before)
    assert not regions.any()


def test_probabilities_of_rounds_take_the_best_of_a_class_and_the_worst_of_the_background():
    rounds = [np.array([[[0.2, 0.8]], [[0.1, 0.0]]]), np.array([[[0.5, 0.1]], [[0.0, 0.3]]])]
    classes, background = fuse_probabilities(rounds, [np.array([[0.7, 0.2]]), np.array([[0.5, 0.6]])])
    np.testing.assert_allclose(classes, [[[0.5, 0.8]], [[0.1, 0.3]]])
    np.testing.assert_allclose(background, [[0.5, 0.2]])


def test_a_weighted_mean_of_rounds():
    rounds = [np.array([[[2.0, -1.0]]]), np.array([[[1.0, 4.0]]])]
    np.testing.assert_allclose(fuse_weighted(rounds, [1, 3]), [[[(1 + 3 * 0.25) / 4, 3 / 4]]])
    np.testing.assert_allclose(fuse_weighted(rounds, [1, 0]), [[[1, 0]]])
    with pytest.raises(ValueError, match="has 3 weights for 2 rounds"):
        fuse_weighted(rounds, [1, 1, 1])


@pytest.mark.parametrize("normalise", ["signed_max", "relu_max", "minmax"])
def test_a_map_whose_maximum_is_exactly_0_claims_nothing(normalise):
    """Stretched to 0..1 its zeros would be 1."""
    scores = np.array([[[0.0, -1.0, -2.0], [-3.0, 0.0, -4.0]]])
    assert not claim(scores, size=(2, 3), rel_threshold=0.2, normalise=normalise).any()


def test_claims_keep_rows_and_columns_apart():
    """A map of two rows and three columns, three times as high and twice as wide; its peak is top right."""
    found = claim(np.array([[[0.0, 0, 9], [0, 0, 0]]]), size=(6, 6), rel_threshold=0.8, normalise="signed_max")
    assert np.argwhere(found[0]).tolist() == [[0, 5], [1, 5]]  # 9 and 9; below them 6, beside them 6.75
