"""Masks painted over their photographs. Pure: arrays in, new arrays out."""

from __future__ import annotations

import cv2
import numpy as np

from wsss.files.imaging import VOC_COLOURS, resize_image, resize_mask
from wsss.files.mask_values import IGNORE

CLASS_SHARE, BRIGHTER = 0.66, 1.25
"""Opacity of a class's colour, and the factor that brightens the colour."""
COLOUR_SHARE, PHOTO_SHARE = 0.3, 0.92
"""How much of the photograph's colour is left, and its brightness."""
UNLABELLED_SHARE, UNLABELLED_GREY, STRIPE_GREY = 0.55, 225, 150
"""Opacity and grey level of the veil over unlabelled pixels, and grey level of its stripes."""
HATCH_PX = 6
"""Period of the stripes, px. A third of it is striped."""


def mask_overlay(
    image_u8: np.ndarray, mask: np.ndarray, *, side: int | None = None, classes: np.ndarray | None = None
) -> np.ndarray:
    """Paint a mask over its greyed photograph: classes in VOC colours with a white outline, unlabelled pixels hatched.

    Args:
        image_u8: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8: 0 background, 1..C class, 255 unlabelled.
        side: Longest side of the result, px; None: as large as the image.
        classes: (256,) class of each mask value, where the values number instances; None: a value is its class.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    small = image_u8 if side is None else shrink(image_u8, side=side)
    labels = resize_mask(mask, size=small.shape[:2])
    grey = np.repeat(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.float32)
    faded = ((1 - COLOUR_SHARE) * grey + COLOUR_SHARE * small) * PHOTO_SHARE
    out = faded.copy()
    inside, unlabelled = (labels > 0) & (labels != IGNORE), labels == IGNORE
    colours = VOC_COLOURS[labels[inside] if classes is None else classes[labels[inside]]]
    out[inside] = (1 - CLASS_SHARE) * small[inside] + CLASS_SHARE * BRIGHTER * colours
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    stripe = (rows + columns) % HATCH_PX < HATCH_PX // 3
    out[unlabelled] = (1 - UNLABELLED_SHARE) * faded[unlabelled] + UNLABELLED_SHARE * UNLABELLED_GREY
    out[unlabelled & stripe] = STRIPE_GREY
    out[outline(labels)] = 255
    return np.clip(out, 0, 255).astype(np.uint8)


def outline(labels: np.ndarray) -> np.ndarray:
    """Pixels of a class that are beside another class.

    Args:
        labels: (H, W) uint8. Pixels of 0 and 255 have no outline.

    Returns:
        (H, W) bool.
    """
    solid = np.where(labels == IGNORE, 0, labels)
    padded = np.pad(solid, 1, mode="edge")
    height, width = solid.shape
    differs = np.zeros(solid.shape, bool)
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        differs |= padded[dy : dy + height, dx : dx + width] != solid
    return differs & (solid > 0)


def shrink(image_u8: np.ndarray, *, side: int) -> np.ndarray:
    """The image with its longest side at most `side` px; never enlarged."""
    factor = min(1.0, side / max(image_u8.shape[:2]))
    height, width = (max(1, round(length * factor)) for length in image_u8.shape[:2])
    return resize_image(image_u8, size=(height, width))
