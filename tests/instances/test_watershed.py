"""Proposals by hierarchical watershed."""

from __future__ import annotations

import numpy as np

from wsss.evaluate.instance_metrics import overlap_matrix
from wsss.instances.watershed import watershed_proposals

SETTINGS = {"smoothings": [0.0, 1.0], "count": 40, "min_area": 0.005, "max_area": 0.85}


def squares():
    """Two coloured squares on noisy grey, and their masks."""
    draw = np.random.default_rng(0)
    image_u8 = draw.integers(110, 118, (40, 60, 3)).astype(np.uint8)
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:20, 8:25] = masks[1, 15:35, 35:50] = True
    image_u8[masks[0]], image_u8[masks[1]] = (200, 40, 40), (30, 60, 190)
    return image_u8, masks


def test_it_finds_what_stands_out():
    image_u8, truth = squares()
    before = image_u8.copy()
    masks, values = watershed_proposals(image_u8, **SETTINGS)
    assert overlap_matrix(truth, masks).max(1).min() > 0.9
    assert overlap_matrix(truth, masks[:10]).max(1).min() > 0.9  # and ranks it high
    assert (np.diff(values) <= 0).all()
    assert 0 <= values.min() <= values.max() <= 1
    np.testing.assert_array_equal(image_u8, before)


def test_bounds_and_repeats():
    image_u8, _ = squares()
    masks, values = watershed_proposals(image_u8, **SETTINGS)
    areas = masks.mean((1, 2))
    assert len(masks) == len(values) <= 40
    assert areas.min() >= 0.005
    assert areas.max() <= 0.85
    assert len({m.tobytes() for m in masks}) == len(masks)
    again, _ = watershed_proposals(image_u8, **SETTINGS)
    np.testing.assert_array_equal(masks, again)
    assert len(watershed_proposals(image_u8, **{**SETTINGS, "count": 3})[0]) == 3


def test_a_flat_or_tiny_picture_has_few_or_none():
    for shape in ((20, 20, 3), (2, 2, 3), (1, 1, 3), (9, 1, 3)):
        masks, values = watershed_proposals(np.full(shape, 127, np.uint8), **SETTINGS)
        assert masks.shape == (len(values), *shape[:2])
