"""Images of the page: overlays, heat maps and small inlined files. Pure: arrays in, new arrays or text out.

Shape legend: H×W image, K maps.
"""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from PIL import Image

from wsss.files.imaging import VOC_COLOURS, resize_image, resize_maps, resize_mask
from wsss.files.mask_values import IGNORE

MASK_SHARE, PHOTO_SHARE = 0.66, 0.92
"""Opacity of a class colour, and brightness of the greyed photograph beside it."""
HEAT_SHARE = (0.3, 0.4)
"""Opacity of a heat map where it is coldest, and how much more where it is hottest."""
HATCH_PX = 6
"""Period of the hatching of unlabelled pixels."""


def shrink(image_u8: np.ndarray, *, side: int) -> np.ndarray:
    """The image with its longest side at most `side` px; never enlarged."""
    return resize_image(image_u8, size=fit(image_u8.shape[:2], side=side))


def fit(size: tuple[int, ...], *, side: int) -> tuple[int, int]:
    """(height, width) scaled so that the longest is at most `side`; at least 1 px each."""
    factor = min(1.0, side / max(size[:2]))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def mask_overlay(image_u8: np.ndarray, mask: np.ndarray, *, side: int, classes: np.ndarray | None = None) -> np.ndarray:
    """A mask over its greyed photograph: classes in VOC colours with a white outline, unlabelled pixels hatched.

    Args:
        image_u8: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8: 0 background, 1..C class, 255 unlabelled.
        side: Longest side of the result, px.
        classes: (256,) class by label, where labels are instances; None: a label is its class.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    small = shrink(image_u8, side=side)
    labels = resize_mask(mask, size=small.shape[:2])
    grey = np.repeat(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.float32)
    faded = (0.7 * grey + 0.3 * small) * PHOTO_SHARE
    out = faded.copy()
    inside = (labels > 0) & (labels != IGNORE)
    out[inside] = (1 - MASK_SHARE) * small[inside] + MASK_SHARE * 1.25 * VOC_COLOURS[
        labels[inside] if classes is None else classes[labels[inside]]
    ]
    rows, columns = np.indices(labels.shape)
    stripe = (rows + columns) % HATCH_PX < HATCH_PX // 3
    unlabelled = labels == IGNORE
    out[unlabelled] = 0.45 * faded[unlabelled] + 0.55 * 225
    out[unlabelled & stripe] = 150
    out[outline(labels)] = 255
    return np.clip(out, 0, 255).astype(np.uint8)


def outline(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of a class next to another label. Background and unlabelled pixels have none."""
    solid = np.where(labels == IGNORE, 0, labels)
    padded = np.pad(solid, 1, mode="edge")
    height, width = solid.shape
    differs = np.zeros(solid.shape, bool)
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        differs |= padded[dy : dy + height, dx : dx + width] != solid
    return differs & (solid > 0)


def heat_overlay(image_u8: np.ndarray, scores: np.ndarray, *, side: int) -> np.ndarray:
    """Raw score maps over an image: the largest of the maps, each clipped at 0 and divided by its maximum.

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
    colour = cv2.cvtColor(
        cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB
    )
    share = (HEAT_SHARE[0] + HEAT_SHARE[1] * heat)[..., None]
    return np.clip((1 - share) * small + share * colour, 0, 255).astype(np.uint8)


def regions_to_mask(regions: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of (K, H, W) bool regions, where they overlap the smallest on top."""
    out = np.zeros(regions.shape[1:], np.uint8)
    for k in np.argsort([-int(r.sum()) for r in regions], kind="stable"):
        out[regions[k]] = class_ids[k]
    return out


def grey_image(values: np.ndarray, *, side: int) -> np.ndarray:
    """(h, w, 3) uint8 of a map: uint8 0..255, or floats in [0, 1]."""
    levels = values if values.dtype == np.uint8 else np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return shrink(np.repeat(levels[..., None], 3, axis=2), side=side)


def data_uri(image_u8: np.ndarray, *, quality: int = 82) -> str:
    """The image as an inlined JPEG."""
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
    pair = np.bincount(truth[known].astype(np.int64) * 256 + mask[known], minlength=256 * 256).reshape(256, 256)
    hit, union = np.diag(pair), pair.sum(axis=0) + pair.sum(axis=1) - np.diag(pair)
    occurs = pair.sum(axis=1) > 0
    return float((hit[occurs] / union[occurs]).mean()) if occurs.any() else 0.0
