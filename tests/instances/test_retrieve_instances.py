"""Instances of one image, worked by hand: the best proposal of each peak, and the components of a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsss.files.errors import ArtefactError
from wsss.files.index import ImageRow
from wsss.files.store import MapRecord
from wsss.settings.sections import RetrievalSection
from wsss.stages.instances.retrieve_instances import by_component, by_proposal, image_responses

HEIGHT, WIDTH = 3, 6
IMAGE = ImageRow(
    image_id="a",
    split="train",
    measured=False,
    height=HEIGHT,
    width=WIDTH,
    labels=np.array([1, 1], np.uint8),
    image=Path("a.png"),
    mask=None,
    instances=None,
    context=None,
)
LEFT, RIGHT, PIXEL, LOW = np.s_[:, :3], np.s_[:, 3:], np.s_[0, 0], np.s_[2, :]


def plane(*places, dtype=bool):
    out = np.zeros((HEIGHT, WIDTH), dtype)
    for place in places:
        out[place] = 1
    return out


def response(*parts):
    """(H W,) of (share, place), not normalised: as stored, times the number of pixels."""
    out = np.zeros((HEIGHT, WIDTH))
    for share, place in parts:
        out[place] += share / plane(place).sum()
    return out.ravel() * out.size


def record(*peaks, maps=None):
    """Of (class, y, x, value, parts of the response); class maps that say nothing."""
    arrays = {
        "peak": np.array([p[:4] for p in peaks], np.float16).reshape(-1, 4),
        "response": np.array([response(*p[4]) for p in peaks], np.float16).reshape(-1, HEIGHT * WIDTH),
        "map": np.zeros((2, HEIGHT, WIDTH), np.float16) if maps is None else maps,
    }
    return MapRecord(image_id="a", class_ids=np.array([1, 2], np.uint8), arrays=arrays)


TWO = ((1, 0, 1, 5, [(0.7, LEFT), (0.3, RIGHT)]), (2, 1, 4, 9, [(1, RIGHT)]))
INSIDE = {"instance": 1.0, "boundary": 0.0, "class_penalty": 0.0}


def test_each_peak_gets_its_best_proposal_and_the_surest_comes_first():
    proposals = np.stack([plane(PIXEL), plane(LEFT), plane(RIGHT)])
    found = by_proposal(IMAGE, record(*TWO), proposals, RetrievalSection(**INSIDE))
    np.testing.assert_array_equal(found.masks, [plane(RIGHT), plane(LEFT)])
    assert found.class_ids.tolist() == [2, 1]
    np.testing.assert_allclose(found.scores, [1, 0.7], atol=2e-3)


def test_what_is_suppressed_takes_its_class_and_score_with_it():
    """The first peak chooses 12 pixels, of which the second one's 9 are three quarters: the surer one stays."""
    wide = plane(np.s_[:, 2:])
    peaks = ((1, 0, 1, 5, [(0.4, np.s_[:, 2]), (0.4, RIGHT), (0.2, LEFT)]), TWO[1])
    proposals = np.stack([plane(PIXEL), plane(RIGHT), wide])

    def kept(**settings):
        found = by_proposal(IMAGE, record(*peaks), proposals, RetrievalSection(**INSIDE, **settings))
        return (
            found.class_ids.tolist(),
            found.masks.sum((1, 2)).tolist(),
            pytest.approx(found.scores.tolist(), abs=2e-3),
        )

    share = 0.4 + 0.4 + 0.2 / 3  # a third of the left half lies in the wide mask, too
    assert kept(overlap=0.8, within_class=False) == ([2, 1], [9, 12], [1, share])
    assert kept(overlap=0.5, within_class=True) == ([2, 1], [9, 12], [1, share])
    assert kept(overlap=0.5, within_class=False) == ([2], [9], [1])


def test_background_is_what_the_class_map_or_saliency_says():
    """Of the image's 18 pixels the map makes 9 background of class 1 and saliency 6, of which 3 are the same.

    12 in all.

    Of class 2 the map says nothing: 6. The penalty of 1 is the share of the image.
    """
    maps = np.zeros((2, HEIGHT, WIDTH), np.float16)
    maps[0][RIGHT] = 1  # below its mean on the left
    given = {"instance": 1.0, "boundary": 0.0, "class_penalty": 1.0, "background_factor": 0.5}
    whole = np.ones((1, HEIGHT, WIDTH), bool)
    for dull, expected in ((None, [1 - 9 / 18, 1]), (plane(LOW), [1 - 12 / 18, 1 - 6 / 18])):
        for k, peak in enumerate(TWO):
            found = by_proposal(IMAGE, record(peak, maps=maps), whole, RetrievalSection(**given), dull=dull)
            np.testing.assert_allclose(found.scores, [expected[k]], atol=2e-3)


def test_without_peaks_or_proposals_there_are_no_instances():
    for peaks, proposals in (((), plane(LEFT)[None]), (TWO, np.zeros((0, HEIGHT, WIDTH), bool))):
        found = by_proposal(IMAGE, record(*peaks), proposals, RetrievalSection())
        assert (found.masks.shape, found.class_ids.shape, found.scores.shape) == ((0, HEIGHT, WIDTH), (0,), (0,))


MASK = np.array([[1, 1, 0, 2, 2, 2], [1, 1, 0, 2, 2, 2], [0, 0, 0, 0, 0, 1]], np.uint8)


def test_components_have_the_class_and_value_of_their_peak():
    """Peaks in another order than the classes; the one of class 1 at the right lies in its single pixel."""
    peaks = ((2, 1, 3, 4, [(1, RIGHT)]), (1, 2, 5, 7, [(1, LOW)]), (1, 1, 0, 2, [(1, LEFT)]))
    found = by_component(IMAGE, MASK, record(*peaks), None, min_area=0)
    assert found.class_ids.tolist() == [1, 2, 1]
    assert found.scores.tolist() == [7, 4, 2]
    np.testing.assert_array_equal(found.masks, [plane(np.s_[2, 5]), plane(np.s_[:2, 3:]), plane(np.s_[:2, :2])])


def test_components_below_a_share_of_the_image_are_left_out():
    """4 of 18 px are 0.2222."""
    peaks = ((1, 2, 5, 7, [(1, LOW)]), (1, 1, 0, 2, [(1, LEFT)]), (2, 1, 3, 4, [(1, RIGHT)]))
    for least, areas in ((0.22, [6, 4]), (4 / 18, [6, 4]), (0.23, [6]), (0.05, [1, 6, 4]), (0.06, [6, 4])):
        found = by_component(IMAGE, MASK, record(*peaks), None, min_area=least)
        assert found.masks.sum((1, 2)).tolist() == areas, least


def test_without_peaks_a_component_has_its_largest_fused_score():
    scores = np.zeros((2, HEIGHT, WIDTH), np.float16)
    scores[0, 0, 0], scores[0, 2, 5], scores[1] = 0.5, 0.75, 0.25
    fused = MapRecord(image_id="a", class_ids=np.array([1, 2], np.uint8), arrays={"scores": scores})
    found = by_component(IMAGE, MASK, None, fused, min_area=0)
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([1, 1, 2], [0.75, 0.5, 0.25])
    assert found.masks.sum((1, 2)).tolist() == [1, 4, 6]


def test_responses_are_densities_whatever_was_stored():
    peaks, responses = image_responses(record(*TWO, (1, 0, 0, 1, [])), size=(HEIGHT, WIDTH))
    assert responses.shape == (3, HEIGHT, WIDTH)
    np.testing.assert_allclose(responses.sum((1, 2)), [1, 1, 0], rtol=1e-6)
    assert peaks[1].tolist() == [2, 1, 4, 9]
    with pytest.raises(ArtefactError, match=r"image a: responses have 18 px, the index says \(2, 6\)"):
        image_responses(record(*TWO), size=(2, 6))
