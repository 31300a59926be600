"""Masks painted over their photographs."""

from __future__ import annotations

import numpy as np

from wsss.files.overlay import mask_overlay, outline, shrink


def test_mask_overlay_colours_classes_hatches_unlabelled_and_keeps_background_grey():
    image = np.full((40, 60, 3), (30, 120, 200), np.uint8)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 5:25], mask[10:30, 35:55] = 1, 255
    before = image.copy()
    out = mask_overlay(image, mask, side=60)
    np.testing.assert_array_equal(image, before)
    inside, outside, unlabelled = out[20, 15].astype(int), out[2, 2].astype(int), out[12:28, 37:53].reshape(-1, 3)
    assert inside[0] - inside[2] > 40  # class 1 is red on a blue photo
    assert np.ptp(outside) < np.ptp(image[2, 2].astype(int)) / 2
    assert len(np.unique(unlabelled, axis=0)) == 2
    np.testing.assert_array_equal(out[10, 15], [255, 255, 255])
    np.testing.assert_array_equal(mask_overlay(image, mask), out)  # as large as the image


def test_an_outline_is_between_classes_and_never_on_background_or_unlabelled_pixels():
    labels = np.array([[0, 1, 1, 1, 2], [0, 1, 1, 1, 2], [0, 1, 1, 1, 255]], np.uint8)
    expected = [[0, 1, 0, 1, 1], [0, 1, 0, 1, 1], [0, 1, 0, 1, 0]]
    np.testing.assert_array_equal(outline(labels), np.array(expected, bool))


def test_images_are_never_enlarged():
    image = np.random.default_rng(0).integers(0, 255, (50, 100, 3), dtype=np.uint8)
    assert shrink(image, side=400).shape == (50, 100, 3)
    assert shrink(image, side=40).shape == (20, 40, 3)
    assert shrink(image[:1], side=20).shape == (1, 20, 3)
