"""Retrieval: each term by hand, switched off one by one, suppression, and components split by peaks."""

from __future__ import annotations

import numpy as np
import pytest

from wsss.stages.instances.retrieval import (
    background,
    contours,
    mask_iou,
    overlaps,
    retrieval_scores,
    split_components,
    suppress,
)


def masks(*rows):
    """(N, H, W) bool of texts, # for inside."""
    return np.array([[[c == "#" for c in line] for line in mask.split()] for mask in rows])


def slow_contour(mask, width):
    """Maximum minus minimum of the window, cells outside the image left out."""
    out = np.zeros_like(mask)
    for y, x in np.ndindex(mask.shape):
        window = mask[max(0, y - width // 2) : y + width // 2 + 1, max(0, x - width // 2) : x + width // 2 + 1]
        out[y, x] = window.any() and not window.all()
    return out


@pytest.mark.parametrize("width", [3, 5])
def test_contours_are_those_of_a_slow_search(width):
    draw = np.random.default_rng(0)
    given = draw.random((6, 11, 13)) < 0.2
    before = given.copy()
    np.testing.assert_array_equal(contours(given, width=width), [slow_contour(m, width) for m in given])
    np.testing.assert_array_equal(given, before)


def test_a_full_mask_has_no_contour():
    assert not contours(np.ones((1, 5, 6), bool), width=5).any()
    assert contours(np.zeros((0, 5, 6), bool), width=5).shape == (0, 5, 6)


def test_the_background_is_below_the_stretched_maps_mean():
    """A raw map of negative mean, -4 and -2 in halves: stretched 0 and 1, mean 1/2."""
    class_map = np.repeat(np.array([[-4.0, -4, -2, -2]]), 4, 0)
    assert background(class_map, size=(4, 4), factor=0.95).tolist() == [[True, True, False, False]] * 4
    assert not background(np.full((3, 3), 7.0), size=(6, 6), factor=0.95).any()
    assert background(class_map, size=(8, 6), factor=0.95).shape == (8, 6)


def scene():
    """Two peaks' responses over 1×4 pixels, the second's class is not in the left half; three proposals."""
    responses = np.array([[[0.5, 0.25, 0.25, 0.0]], [[0.0, 0.0, 0.25, 0.75]]], np.float32)
    backgrounds = np.array([[[False] * 4], [[True, True, False, False]]])
    return responses, backgrounds, masks("##..", "..##", "####")


def test_each_term_by_hand():
    responses, backgrounds, proposals = scene()

    def score(**weights):
        given = {"instance": 0.0, "boundary": 0.0, "class_penalty": 0.0, **weights}
        return retrieval_scores(responses, backgrounds, proposals, contour_width=3, **given)

    inside = np.array([[0.75, 0.25, 1], [0, 1, 1]])
    edge = np.array([[0.5, 0.5, 0], [0.25, 0.25, 0]])  # the contours of the halves are the middle two pixels
    outside = np.array([[0, 0, 0], [2 / 4, 0, 2 / 4]])
    np.testing.assert_allclose(score(instance=0.8), 0.8 * inside, rtol=1e-6)
    np.testing.assert_allclose(score(boundary=1.0), edge, rtol=1e-6)
    np.testing.assert_allclose(score(class_penalty=2.0), -2 * outside, rtol=1e-6)
    np.testing.assert_allclose(
        score(instance=0.8, boundary=1.0, class_penalty=2.0), 0.8 * inside + edge - 2 * outside, rtol=1e-6
    )
    assert score(instance=0.8, class_penalty=2.0).argmax(1).tolist() == [2, 1]
    assert score(instance=0.8).argmax(1).tolist() == [2, 1]
    assert score(instance=0.8, boundary=1.0, class_penalty=2.0).argmax(1).tolist() == [
        0,
        1,
    ]  # the contour tells the part from the whole


def test_without_proposals_or_peaks_there_are_no_scores():
    responses, backgrounds, proposals = scene()
    weights = {"instance": 0.8, "boundary": 1.0, "class_penalty": 2.0, "contour_width": 3}
    assert retrieval_scores(responses, backgrounds, proposals[:0], **weights).shape == (2, 0)
    assert retrieval_scores(responses[:0], backgrounds[:0], proposals, **weights).shape == (0, 3)


def test_overlaps_do_not_depend_on_the_block():
    draw = np.random.default_rng(0)
    planes, many = draw.random((2, 6, 5)), draw.random((150, 6, 5)) < 0.5
    np.testing.assert_allclose(overlaps(planes, many), [[p[m].sum() for m in many] for p in planes], rtol=1e-5)


def test_iou():
    found = mask_iou(masks("##..", "...."), masks(".##.", "##..", "...."))
    np.testing.assert_allclose(found, [[1 / 3, 1, 0], [0, 0, 0]], rtol=1e-6)


def test_suppression():
    given = masks("###.....", "##......", "....##..", "####....")
    scores, classes = np.array([0.5, 0.9, 0.1, 0.5]), np.array([1, 1, 1, 2])

    def kept(overlap, within_class):
        return suppress(given, scores, classes, overlap=overlap, within_class=within_class).tolist()

    assert kept(0.3, False) == [1, 2]
    assert kept(0.3, True) == [1, 3, 2]
    assert kept(0.5, False) == [1, 2]  # exactly the limit is left out
    assert kept(0.51, False) == [1, 3, 2]
    assert kept(1.1, False) == [1, 0, 3, 2]  # of equal scores the earlier first
    assert suppress(given[:0], scores[:0], classes[:0], overlap=0.3, within_class=False).tolist() == []


def test_kept_masks_do_not_overlap():
    draw = np.random.default_rng(1)
    given = np.zeros((40, 20, 20), bool)
    for m in given:
        y, x, h, w = draw.integers(2, 12, 4)
        m[y : y + h, x : x + w] = True
    kept = suppress(given, draw.random(40), np.ones(40), overlap=0.3, within_class=False)
    between = mask_iou(given[kept], given[kept])
    np.fill_diagonal(between, 0)
    assert between.max() < 0.3


def test_components_with_one_several_and_no_peak():
    region = masks("##...####.#")[0]
    responses = np.zeros((3, 1, 11), np.float32)
    responses[1, 0, 5:7], responses[2, 0, 7:9] = 0.5, 0.5
    found = split_components(region, [(0.0, 1.5), (0, 5), (0, 8)], responses)
    assert [(m[0].nonzero()[0].tolist(), k) for m, k in found] == [
        ([0, 1], 0),
        ([5, 6], 1),
        ([7, 8], 2),
    ]  # the last pixel has no peak


def test_where_no_peak_responds_the_nearest_gets_the_pixel():
    region = masks("########")[0]
    found = split_components(region, [(0, 1), (0, 6)], np.zeros((2, 1, 8), np.float32))
    assert [m[0].nonzero()[0].tolist() for m, _ in found] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert split_components(~region, [(0, 1)], np.zeros((1, 1, 8), np.float32)) == []
    assert split_components(region, [], np.zeros((0, 1, 8), np.float32)) == []
