"""Retrieval: each term by hand, switched off one by one, suppression, and components split by peaks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss.stages.instances.retrieval import (
    background,
    components,
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


# ---------------------------------------------------------------- slow versions, and the edges of the rules


def slow_cubic(plane, height, width):
    """Keys' kernel with a = -0.75, half-pixel centres, the border repeated: OpenCV's bicubic."""

    def weight(d):
        d, a = abs(d), -0.75
        return (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0

    def along(values, count):
        size, out = len(values), []
        for i in range(count):
            at = (i + 0.5) * size / count - 0.5
            first = int(np.floor(at)) - 1
            out.append(sum(weight(at - k) * values[min(max(k, 0), size - 1)] for k in range(first, first + 4)))
        return np.array(out)

    return np.stack([along(column, height) for column in np.stack([along(row, width) for row in plane]).T], 1)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(2, 6), st.integers(1, 3), st.floats(0.3, 1.5))
def test_the_background_is_that_of_a_plain_loop(seed, height, width, times, factor):
    """Stretched to 0..1, resized bicubic, and below `factor` times the mean; raw maps of any sign, taller or wider."""
    draw = np.random.default_rng(seed)
    class_map = draw.normal(draw.uniform(-9, 9), draw.uniform(0.1, 5), (height, width)).astype(np.float32)
    size = (height * times + 1, width * times + 2)
    stretched = (class_map.astype(float) - class_map.min()) / (class_map.max() - class_map.min())
    fine = slow_cubic(stretched, *size)
    level = factor * fine.mean()
    clear = np.abs(fine - level) > 1e-3  # what lies on the level may fall on either side
    np.testing.assert_array_equal(background(class_map, size=size, factor=factor)[clear], (fine < level)[clear])


def test_the_backgrounds_level_is_the_mean_not_the_median():
    """Stretched to 0, 0, 0.25, 0, 1: the mean is 0.25, the median 0."""
    class_map = np.array([[2.0, 2, 3, 2, 6]])
    assert background(class_map, size=(1, 5), factor=1.1).tolist() == [[True, True, True, True, False]]
    assert background(class_map, size=(1, 5), factor=0.9).tolist() == [[True, True, False, True, False]]


def test_the_backgrounds_map_is_stretched_from_its_least_value():
    """5, 6, 9 become 0, 1/4, 1 of mean 5/12; raw, none lies below half of the mean 20/3, and one below 0.8 of it."""
    assert background(np.array([[5.0, 6, 9]]), size=(1, 3), factor=0.5).tolist() == [[True, False, False]]
    assert background(np.array([[5.0, 6, 9]]), size=(1, 3), factor=0.8).tolist() == [[True, True, False]]


def test_pixels_that_touch_at_a_corner_are_one_component():
    region = masks("#... .#.. ...# ..#.")[0]
    found = components(region)
    assert [sorted(zip(*(a.tolist() for a in m.nonzero()), strict=True)) for m in found] == [
        [(0, 0), (1, 1)],
        [(2, 3), (3, 2)],
    ]
    assert components(np.zeros((2, 3), bool)) == []


def slow_components(region):
    """Flood fills over the eight neighbours."""
    left, found = {(int(y), int(x)) for y, x in zip(*region.nonzero(), strict=True)}, set()
    while left:
        queue, part = [left.pop()], set()
        while queue:
            y, x = queue.pop()
            part.add((y, x))
            near = {(y + v, x + u) for v in (-1, 0, 1) for u in (-1, 0, 1)} & left
            left -= near
            queue += near
        found.add(frozenset(part))
    return found


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_components_are_those_of_a_flood_fill(seed, height, width):
    region = np.random.default_rng(seed).random((height, width)) < 0.35
    found = components(region)
    assert {frozenset((int(y), int(x)) for y, x in zip(*m.nonzero(), strict=True)) for m in found} == slow_components(
        region
    )
    assert len(found) == len(slow_components(region))


def test_a_component_with_a_corner_bridge_is_split_between_its_peaks():
    """Two pairs that touch at a corner; the second peak lies in the lower pair."""
    region = masks("##.. ..##")[0]
    found = split_components(region, [(0, 0), (1, 3)], np.zeros((2, 2, 4)))
    assert [(m.nonzero()[0].tolist(), m.nonzero()[1].tolist(), k) for m, k in found] == [
        ([0, 0], [0, 1], 0),
        ([1, 1], [2, 3], 1),
    ]
    assert len(split_components(region, [(0, 0)], np.zeros((1, 2, 4)))) == 1


def test_the_response_decides_before_the_distance():
    """The pixel beside the first peak answers to the second one."""
    region = masks("#####")[0]
    responses = np.array([[[0.2, 0.1, 0.1, 0.0, 0.0]], [[0.0, 0.3, 0.1, 0.2, 0.2]]])
    found = split_components(region, [(0, 0), (0, 4)], responses)
    assert [m[0].nonzero()[0].tolist() for m, _ in found] == [
        [0, 2],
        [1, 3, 4],
    ]  # the middle is as far from both: the first


def test_distances_are_straight_lines_over_both_axes():
    """The pixel (1, 3) is 3 columns and 1 row from the first peak, 0 columns and 3 rows from the second."""
    region = np.ones((5, 6), bool)
    found = split_components(region, [(0, 0), (4, 3)], np.zeros((2, 5, 6)))
    for y, x in np.ndindex(5, 6):
        nearest = min((0, 1), key=lambda k: (y - (0, 4)[k]) ** 2 + (x - (0, 3)[k]) ** 2)
        assert found[nearest][0][y, x]
        assert not found[1 - nearest][0][y, x]


def test_a_peaks_place_is_the_pixel_that_holds_it():
    """Places are rounded down: 1.7 lies in pixel 1, which belongs to the left part.

    Places outside count for the border's pixel.
    """
    region = masks("##.##")[0]
    left, right = [0, 1], [3, 4]

    def owners(*places):
        found = split_components(region, places, np.zeros((len(places), 1, 5)))
        return [(m[0].nonzero()[0].tolist(), k) for m, k in found]

    assert owners((0.0, 1.7)) == [(left, 0)]
    assert owners((0.9, 2.9)) == []
    assert split_components(masks("## .. ##")[0], [(1.7, 0.0)], np.zeros((1, 3, 2))) == []
    assert owners((-3.0, -2.0), (7.0, 9.0)) == [(left, 0), (right, 1)]


def test_a_peak_left_without_a_pixel_is_no_instance():
    region = masks("###")[0]
    responses = np.array([[[0.5, 0.5, 0.5]], [[0.1, 0.1, 0.1]]])
    found = split_components(region, [(0, 0), (0, 2)], responses)
    assert [(m[0].tolist(), k) for m, k in found] == [([True] * 3, 0)]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 7), st.booleans())
def test_suppression_is_that_of_a_plain_loop(seed, height, width, within_class):
    draw = np.random.default_rng(seed)
    given_masks, classes = draw.random((9, height, width)) < 0.5, draw.integers(1, 3, 9)
    scores, limit = draw.integers(0, 5, 9) / 4, draw.choice([0.2, 0.5, 0.8])
    kept = []
    for k in sorted(range(9), key=lambda k: (-scores[k], k)):
        rivals = [j for j in kept if classes[j] == classes[k] or not within_class]
        shares = [
            (given_masks[k] & given_masks[j]).sum() / max((given_masks[k] | given_masks[j]).sum(), 1) for j in rivals
        ]
        kept += [k] if all(np.float32(s) < limit for s in shares) else []
    assert suppress(given_masks, scores, classes, overlap=limit, within_class=within_class).tolist() == kept
