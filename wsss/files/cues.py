"""Stored saliency maps as a cue of what is background."""

from __future__ import annotations

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.index import ImageRow
from wsss.files.store import MapReader


def read_saliency(maps: MapReader, row: ImageRow) -> np.ndarray:
    """The saliency of an image, (H, W) float32 in [0, 1].

    Raises:
        ArtefactError: If there is none, or of another type or size.
    """
    saliency = maps.read(row.image_id, "saliency")["saliency"]
    if saliency.dtype != np.uint8 or saliency.shape != (row.height, row.width):
        expected = f"uint8 {(row.height, row.width)} (height, width)"
        raise ArtefactError(
            f"{maps.path}: image {row.image_id}: saliency is {saliency.dtype} {saliency.shape}, expected {expected}; rerun estimate_saliency"
        )
    return saliency.astype(np.float32) / 255
