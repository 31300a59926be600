"""A few images of coloured squares with class and instance masks, as index_images would leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tests.tiny_set import write_tiny_set
from wsss.files.store import MapWriter

HEIGHT, WIDTH = 64, 80
BOXES = [((8, 6, 30, 30), 1), ((34, 44, 60, 74), 3), ((8, 30, 30, 52), 1)]
"""(top, left, bottom, right) and class; the first and the third touch."""


def write_drawn_set(folder: Path, *, count: int = 3) -> tuple[Path, Path]:
    """Images i0, i1, ...; every image has the three objects.

    Args:
        folder: Where.
        count: Images.

    Returns:
        index.csv and the shard file.
    """
    draw = np.random.default_rng(0)
    colours = {1: (200, 40, 40), 3: (30, 60, 190)}
    images = {}
    for k in range(count):
        image_u8 = draw.integers(110, 130, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        for n, ((top, left, bottom, right), c) in enumerate(BOXES):
            image_u8[top:bottom, left:right] = np.add(colours[c], 15 * n)
        images[f"i{k}"] = (image_u8, [1, 3])
    index, shard = write_tiny_set(folder, images)
    mask, instances = masks()
    for name, plane in (("mask", mask), ("instances", instances)):
        Image.fromarray(plane).save(index.parent / f"{name}.png")
    table = pd.read_csv(index, dtype=str, keep_default_na=False)
    table["measured"], table["mask"], table["instances"] = "1", "mask.png", "instances.png"
    table.to_csv(index, index=False, lineterminator="\n")
    return index, shard


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Class mask and instance mask (H, W) uint8 of every image."""
    mask, instances = (np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(2))
    for n, ((top, left, bottom, right), c) in enumerate(BOXES, 1):
        mask[top:bottom, left:right], instances[top:bottom, left:right] = c, n
    return mask, instances


def write_peaks(path: Path, ids: list[str], *, flat: bool = False) -> None:
    """Responses of an ideal network: one peak in the middle of each object, which responds to the object evenly.

    Args:
        path: Store file to write.
        ids: Images.
        flat: Whether the class maps are constant.
    """
    _, instances = masks()
    peaks, responses = [], []
    for n, ((top, left, bottom, right), c) in enumerate(BOXES, 1):
        peaks.append((c, (top + bottom) / 2, (left + right) / 2, 9 - n))
        inside = (instances == n).astype(np.float32)
        responses.append(inside.ravel() / inside.mean())
    order = sorted(range(len(peaks)), key=lambda k: (peaks[k][0], -peaks[k][3]))
    planes = np.stack([np.full((HEIGHT, WIDTH), flat) | (masks()[0] == c) for c in (1, 3)])
    with MapWriter(path, stage="respond_peaks", settings={}) as writer:
        for image_id in ids:
            writer.write(
                image_id,
                [1, 3],
                peak=np.array(peaks, np.float16)[order],
                response=np.array(responses, np.float16)[order],
                map=planes.astype(np.float16),
            )
