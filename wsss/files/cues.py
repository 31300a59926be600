"""Stored saliency maps as a cue of what is background (no torch)."""

from __future__ import annotations

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.index import ImageRow
from wsss.files.store import MapReader


def read_saliency(maps: MapReader, row: ImageRow) -> np.ndarray:
    """The saliency of an image, (H, W) float32 in [0, 1].

    Raises:
        ArtefactError: If there is none, or it has another dtype or size.
    """
    saliency = maps.read(row.image_id, "saliency")["saliency"]
    if saliency.dtype != np.uint8 or saliency.shape != (row.height, row.width):
        found = f"saliency is {saliency.dtype} {saliency.shape}"
        expected = f"uint8 {(row.height, row.width)} (height, width)"
        fault = f"image {row.image_id}: {found}, expected {expected}"
        raise ArtefactError(f"{maps.path}: {fault}; rerun estimate_saliency")
    return saliency.astype(np.float32) / 255
