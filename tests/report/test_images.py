"""Overlays, heat and per-image mIoU."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from wsss.stages.report import images


@pytest.mark.parametrize(
    ("mask", "truth", "expected"),
    [
        ([[1, 1], [0, 0]], [[1, 1], [0, 0]], 1.0),
        ([[0, 0], [0, 0]], [[1, 1], [0, 0]], 0.25),  # background 2/4, class 0/2
        ([[1, 2], [0, 0]], [[1, 1], [0, 0]], (1 / 2 + 1) / 2),  # an absent class takes pixels from the present ones
        ([[1, 255], [0, 0]], [[1, 1], [0, 0]], (1 / 2 + 1) / 2),  # unlabelled is wrong
        ([[1, 2], [0, 0]], [[1, 255], [0, 0]], 1.0),  # truth's border is left out
        ([[1, 2], [0, 0]], [[255, 255], [255, 255]], 0.0),
    ],
)
def test_image_miou_by_hand(mask, truth, expected):
    assert images.image_miou(np.array(mask, np.uint8), np.array(truth, np.uint8)) == pytest.approx(expected)


def test_heat_is_normalised_for_each_class_after_upsampling_and_clipped_at_zero():
    image = np.zeros((32, 32, 3), np.uint8)
    scores = np.full((2, 4, 4), -5.0, np.float16)
    scores[0, 0, 0], scores[1, 3, 3] = 100, 0.01
    out = images.heat_overlay(image, scores, side=32).astype(int)
    np.testing.assert_allclose(out[0, 0], out[31, 31], atol=3)  # the weak class is as hot at its top
    assert out[0, 0, 0] - out[0, 0, 2] > 50  # hottest: red
    assert out[0, 31, 2] > out[0, 31, 0]  # coldest: blue
    nothing = images.heat_overlay(image, -np.abs(scores), side=32)
    assert np.unique(nothing).size <= 3
    np.testing.assert_array_equal(images.heat_overlay(image, scores[:0], side=32), nothing)


def test_smaller_regions_lie_on_top():
    regions = np.zeros((2, 6, 6), bool)
    regions[0, 2:4, 2:4], regions[1] = True, True
    out = images.regions_to_mask(regions, np.array([3, 5], np.uint8))
    assert out[3, 3] == 3
    assert (out == 5).sum() == 32
    np.testing.assert_array_equal(images.regions_to_mask(regions[:0], np.zeros(0, np.uint8)), np.zeros((6, 6)))


def test_an_inlined_image_decodes():
    kind, data = images.data_uri(np.zeros((50, 100, 3), np.uint8)).split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (100, 50)


def test_saliency_of_either_kind_gives_the_same_image():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(
        images.grey_image(levels, side=16), images.grey_image((levels / 255).astype(np.float16), side=16)
    )
