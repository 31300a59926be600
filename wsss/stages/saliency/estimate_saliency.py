"""Stage estimate_saliency: a saliency map for each image of a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import opened, read_indexed_image
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.store import MapWriter
from wsss.runtime.console import progress, warn
from wsss.runtime.processes import map_blocks
from wsss.settings.sections import SaliencySection
from wsss.settings.stage_settings import SaliencySettings
from wsss.stages.saliency.barrier import barrier_saliency
from wsss.stages.saliency.u2net import find_weights, open_network, u2net_saliency

LISTED = 20
"""Missing files named in an error; then a count."""


def estimate_saliency(*, index: Path, shard: Path, settings: SaliencySettings, workers: int, output: Path) -> None:
    """Make a saliency map for each image of a shard.

    Writes array `saliency` (H, W) uint8 in 0..255 at image size, class_ids []: saliency in [0, 1] times 255, rounded (8 bits compress; float16 noise does not). Consumers divide by 255.

    Args:
        index: dataset/index.csv.
        shard: Shard file that lists the images.
        settings: Kind of saliency and its settings.
        workers: Processes; does not change results.
        output: Store file to write.

    Raises:
        ValueError: If saliency.kind is none, a given map is missing or unfit, or weights cannot be found.
    """
    section = settings.saliency
    if section.kind == "none":
        raise ValueError(
            "estimate_saliency: saliency.kind is none, so there is nothing to estimate; use barrier, u2net or folder"
        )
    rows = ImageIndex(index).shard(shard)
    weights = find_weights(section.u2net.weights) if section.kind == "u2net" and rows else None
    if section.kind == "folder":
        _check_folder(rows, Path(section.folder.root))
    flat = 0
    with MapWriter(output, stage="estimate_saliency", settings=settings.model_dump()) as writer:
        maps = map_blocks(partial(_estimate_block, section=section, weights=weights), rows, workers=workers)
        for row, saliency in zip(rows, progress(maps, what="estimate_saliency", total=len(rows)), strict=True):
            flat += not saliency.any()
            writer.write(row.image_id, [], saliency=saliency)
    if flat > len(rows) // 2:
        warn(
            "%s: %d of %d saliency maps are 0 everywhere (kind %s): every pixel will count as background",
            output,
            flat,
            len(rows),
            section.kind,
        )


def _estimate_block(
    rows: Sequence[ImageRow], *, section: SaliencySection, weights: Path | None
) -> Iterator[np.ndarray]:
    """(H, W) uint8 for each row; opens the network once."""
    network = open_network(weights) if weights else None
    for row in rows:
        if section.kind == "folder":
            yield _read_map(row, Path(section.folder.root))
            continue
        image_u8 = read_indexed_image(row)
        saliency = (
            u2net_saliency(image_u8, network=network)
            if network
            else barrier_saliency(image_u8, **section.barrier.model_dump())
        )
        yield np.rint(saliency * 255).astype(np.uint8)


def _map_path(row: ImageRow, root: Path) -> Path:
    path = root / f"{row.image_id}.png"
    if not path.resolve().is_relative_to(root.resolve()):
        raise ArtefactError(
            f"image id {row.image_id!r} leads out of saliency.folder.root {root}; ids must not hold '..'"
        )
    return path


def _check_folder(rows: Sequence[ImageRow], root: Path) -> None:
    """All maps are there before the first is read."""
    missing = [str(p) for p in (_map_path(row, root) for row in rows) if not p.is_file()]
    if missing:
        more = f"\n  and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        listed = "".join(f"\n  {p}" for p in missing[:LISTED])
        raise ArtefactError(
            f"saliency.folder.root {root}: {len(missing)} of {len(rows)} maps are missing (expected IMAGE_ID.png, 8-bit grey):{listed}{more}"
        )


def _read_map(row: ImageRow, root: Path) -> np.ndarray:
    """(H, W) uint8, 255 = salient."""
    path = _map_path(row, root)
    with opened(path, what="image") as image:
        mode, saliency = image.mode, np.array(image)
    if mode != "L":
        raise ArtefactError(
            f"{path}: found an image of mode {mode}, expected 8-bit grey (mode L), 255 = salient; convert it"
        )
    if saliency.shape != (row.height, row.width):
        found = f"{saliency.shape[0]}×{saliency.shape[1]}"
        raise ArtefactError(
            f"{path}: found {found} px (height×width), expected the image's {row.height}×{row.width}; resize the map to its image"
        )
    return saliency
