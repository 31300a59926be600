"""Images of the page: heat maps, regions and small inlined files. Pure: arrays in, new arrays or text out.

Shape legend: H×W image, K maps.
"""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from PIL import Image

from wsss.files.imaging import resize_maps
from wsss.files.mask_values import IGNORE
from wsss.files.overlay import shrink

HEAT_SHARE = (0.3, 0.4)
"""Opacity of a heat map where it is coldest, and how much more where it is hottest."""


def heat_overlay(image_u8: np.ndarray, scores: np.ndarray, *, side: int) -> np.ndarray:
    """Paint score maps over an image: the largest of the maps, each clipped at 0 and divided by its maximum.

    Args:
        image_u8: (H, W, 3) uint8 RGB.
        scores: (K, h, w) raw scores on any grid; K may be 0.
        side: Longest side of the result, px.

    Returns:
        (h', w', 3) uint8 RGB; a map nowhere positive leaves the image dim.
    """
    small = shrink(image_u8, side=side)
    maps = np.maximum(resize_maps(np.asarray(scores, np.float32), size=small.shape[:2]), 0)
    top = maps.max(axis=(1, 2), initial=0)
    heat = (maps / np.where(top > 0, top, 1)[:, None, None]).max(axis=0, initial=0)
    coloured_bgr = cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    colour = cv2.cvtColor(coloured_bgr, cv2.COLOR_BGR2RGB)
    share = (HEAT_SHARE[0] + HEAT_SHARE[1] * heat)[..., None]
    return np.clip((1 - share) * small + share * colour, 0, 255).astype(np.uint8)


def regions_to_mask(regions: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """Lay regions over each other, the smallest on top.

    Args:
        regions: (K, H, W) bool.
        class_ids: (K,) ids 1..C.

    Returns:
        (H, W) uint8 mask, 0 outside the regions.
    """
    out = np.zeros(regions.shape[1:], np.uint8)
    for k in np.argsort([-int(r.sum()) for r in regions], kind="stable"):
        out[regions[k]] = class_ids[k]
    return out


def grey_image(values: np.ndarray, *, side: int) -> np.ndarray:
    """A map in grey.

    Args:
        values: (H, W) uint8 in 0..255, or floats in [0, 1].
        side: Longest side of the result, px.

    Returns:
        (h, w, 3) uint8.
    """
    levels = values if values.dtype == np.uint8 else np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return shrink(np.repeat(levels[..., None], 3, axis=2), side=side)


def data_uri(image_u8: np.ndarray, *, quality: int = 82) -> str:
    """The (H, W, 3) uint8 image as an inlined JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image_u8).save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def image_miou(mask: np.ndarray, truth: np.ndarray) -> float:
    """Mean IoU of one image over background and the classes that occur in its truth, as evaluation averages.

    Args:
        mask: (H, W) uint8; 255 counts as wrong.
        truth: (H, W) uint8; 255 is left out.

    Returns:
        In [0, 1]; 0 if no truth pixel is labelled.
    """
    known = truth != IGNORE
    counts = np.bincount(truth[known].astype(np.int64) * 256 + mask[known], minlength=256 * 256)
    pair = counts.reshape(256, 256)  # rows truth
    hit, union = np.diag(pair), pair.sum(axis=0) + pair.sum(axis=1) - np.diag(pair)
    occurs = pair.sum(axis=1) > 0
    return float((hit[occurs] / union[occurs]).mean()) if occurs.any() else 0.0
