"""Truth masks of COCO's images, drawn from their objects' outlines (no torch)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from wsss.files.imaging import save_image, save_mask
from wsss.files.mask_values import IGNORE
from wsss.runtime.console import log, progress
from wsss.runtime.processes import map_blocks
from wsss.stages.dataset.coco_json import CocoImage, Number, Thing
from wsss.stages.dataset.source import SourceRow


def with_truth(
    rows: Sequence[SourceRow], found: Mapping[str, Mapping[Number, CocoImage]], *, folder: Path, workers: int
) -> list[SourceRow]:
    """Draw the truth of every split whose images are all there.

    Args:
        rows: Rows of all splits.
        found: Images by split and COCO's number.
        folder: Where SPLIT/masks and SPLIT/instances are made.
        workers: Processes that draw.

    Returns:
        The rows with their masks. A split that lacks an image keeps its rows as they are.
    """
    out = list(rows)
    for split, by_number in found.items():
        by_id = {Path(image.file).stem: image for image in by_number.values()}
        mine = [k for k, row in enumerate(out) if row.split == split]
        if missing := [k for k in mine if not out[k].image.is_file()]:
            log.info("%s: %d images are missing, no truth is drawn", split, len(missing))
            continue
        for kind in ("masks", "instances"):
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
        tasks = [(out[k].image_id, by_id[out[k].image_id]) for k in mine]
        drawn = map_blocks(partial(draw_block, folder=folder / split), tasks, workers=workers)
        for k, (mask, instances) in zip(mine, progress(drawn, what=f"truth of {split}", total=len(mine)), strict=True):
            out[k] = replace(out[k], mask=mask, instances=instances)
    return out


def draw_block(tasks: Sequence[tuple[str, CocoImage]], *, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Draw the truth of some images.

    Args:
        tasks: image_id and image.
        folder: Has masks/ and instances/.

    Yields:
        The two files of each image.
    """
    for image_id, coco_image in tasks:
        mask, instances = draw(coco_image)
        paths = folder / "masks" / f"{image_id}.png", folder / "instances" / f"{image_id}.png"
        save_mask(paths[0], mask)
        save_image(paths[1], Image.fromarray(instances))
        yield paths


def draw(coco_image: CocoImage) -> tuple[np.ndarray, np.ndarray]:
    """Truth of one image.

    Args:
        coco_image: Its objects.

    Returns:
        mask (H, W) uint8: 0 background, 1..C, 255 crowds.
        instances (H, W) uint8: 0 no object, k object k from the largest to the smallest.
    """
    mask, instances = (np.zeros(coco_image.size, np.uint8) for _ in range(2))
    for thing in coco_image.things:
        if thing.crowd:
            mask[_inside(thing, coco_image.size)] = IGNORE
    whole = sorted((t for t in coco_image.things if not t.crowd), key=lambda t: -t.area)
    for k, thing in enumerate(whole, 1):
        inside = _inside(thing, coco_image.size)
        mask[inside], instances[inside] = thing.class_id, k
    return mask, instances


def _inside(thing: Thing, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool."""
    return coco_mask.decode({"size": list(size), "counts": thing.outline}).astype(bool)
