"""Stage estimate_saliency: a saliency map for each image of a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from wsss.files.index import ImageIndex, ImageRow
from wsss.files.store import MapWriter
from wsss.runtime.console import progress, warn
from wsss.runtime.processes import map_blocks
from wsss.settings.stage_settings import SaliencySettings
from wsss.stages.saliency.estimator import Estimator, estimator_of


def estimate_saliency(*, index: Path, shard: Path, settings: SaliencySettings, workers: int, output: Path) -> None:
    """Make a saliency map for each image of a shard.

    Writes array `saliency` (H, W) uint8 in 0..255 at image size, class_ids []. Consumers divide it by 255.

    Args:
        index: dataset/index.csv.
        shard: Shard file that lists the images.
        settings: Kind of saliency and its settings.
        workers: Processes; does not change results.
        output: Store file to write.

    Raises:
        ValueError: If the kind makes no maps, a given map is missing or unfit, or weights cannot be found.
    """
    kind = settings.saliency.kind
    if not settings.saliency.place:
        advice = "use barrier, u2net or folder"
        raise ValueError(f"estimate_saliency: saliency.kind is {kind}, so there is nothing to estimate; {advice}")
    rows = ImageIndex(index).shard(shard)
    estimator = estimator_of(settings.saliency)
    if rows:
        estimator.prepare(rows)
    flat = 0
    with MapWriter(output, stage="estimate_saliency", settings=settings.model_dump()) as writer:
        maps = map_blocks(partial(_estimate_block, estimator=estimator), rows, workers=workers)
        for row, saliency in zip(rows, progress(maps, what="estimate_saliency", total=len(rows)), strict=True):
            flat += not saliency.any()
            writer.write(row.image_id, [], saliency=saliency)
    if flat > len(rows) // 2:
        text = "%s: %d of %d saliency maps are 0 everywhere (kind %s): every pixel will count as background"
        warn(text, output, flat, len(rows), kind)


def _estimate_block(rows: Sequence[ImageRow], *, estimator: Estimator) -> Iterator[np.ndarray]:
    """(H, W) uint8 for each row."""
    for row in rows:
        yield estimator.estimate(row)
