"""Stage make_seeds: fused regions or scores and a background cue become seed masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss.files.cues import read_saliency
from wsss.files.errors import ArtefactError
from wsss.files.imaging import resize_maps
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.store import MapReader, MapRecord, MapWriter
from wsss.runtime.console import progress
from wsss.settings.sections import SeedMaskSection
from wsss.settings.stage_settings import SeedMaskSettings
from wsss.stages.pseudo.guard import BackgroundGuard
from wsss.stages.pseudo.seedmask import seeds_from_network, seeds_from_regions, seeds_from_scores


def make_seeds(
    *, index: Path, shard: Path, fused: Path, saliency: Path | None = None, settings: SeedMaskSettings, output: Path
) -> None:
    """Make a seed mask for each image of a shard.

    Writes array `mask` (H, W) uint8 at image size (0 background, 1..C class, 255 ignore), class_ids: the image's classes.

    Args:
        index: dataset/index.csv.
        shard: Shard file that lists the images.
        fused: Store file with `regions` (K, H, W) bool and `scores` (K, h, w); for cue network with `raw` (K, h, w) and `background` (h, w) too.
        saliency: Store file with `saliency` (H, W) uint8, divided by 255 here; needed by cue saliency.
        settings: Kind of seed mask, cue and thresholds.
        output: Store file to write.

    Raises:
        ValueError: If the cue needs saliency and there is none, or all masks come out without a class.
    """
    seed = settings.seed
    if seed.cue == "saliency" and saliency is None:
        raise ValueError(
            "make_seeds: pseudo.seed.cue is saliency, but there is none; set saliency.kind to barrier, u2net or folder, or pseudo.seed.cue to constant"
        )
    look_at = {
        "regions": "pseudo.seed.saliency_threshold, saliency.kind and "
        + ("pseudo.seed.region_threshold" if seed.region_threshold else "seeds.claim.rel_threshold"),
        "scores": "pseudo.seed.background, pseudo.seed.cue and saliency.kind",
    }
    guard = BackgroundGuard(stage="make_seeds", look_at=look_at[seed.kind] + f" (settings: {seed.model_dump()})")
    arrays = (
        ("raw", "background")
        if seed.cue == "network"
        else ("regions",)
        if seed.kind == "regions" and not seed.region_threshold
        else ("scores",)
    )
    maps, cues = MapReader(fused), MapReader(saliency) if saliency and seed.cue == "saliency" else None
    with MapWriter(output, stage="make_seeds", settings=settings.model_dump()) as writer:
        for row in progress(ImageIndex(index).shard(shard), what="make_seeds"):
            record = maps.read(row.image_id, *arrays)
            mask = _seed_mask(row, record, cue=read_saliency(cues, row) if cues else None, seed=seed)
            guard.add(mask, record.class_ids)
            writer.write(row.image_id, record.class_ids, mask=mask)
        guard.check()


def _seed_mask(row: ImageRow, record: MapRecord, *, cue: np.ndarray | None, seed: SeedMaskSection) -> np.ndarray:
    """(H, W) uint8 mask of one image."""
    if seed.cue == "network":
        return seeds_from_network(record["raw"], record["background"], record.class_ids, size=(row.height, row.width))
    if seed.kind == "scores":
        return seeds_from_scores(
            record["scores"],
            record.class_ids,
            size=(row.height, row.width),
            background=seed.background if cue is None else 1 - cue,
        )
    if seed.region_threshold:
        regions = resize_maps(record["scores"], size=(row.height, row.width)) > seed.region_threshold
        return seeds_from_regions(regions, record.class_ids, cue, saliency_threshold=seed.saliency_threshold)
    if record["regions"].shape[1:] != (row.height, row.width):
        raise ArtefactError(
            f"image {row.image_id}: regions are {record['regions'].shape[1:]}, the index says {(row.height, row.width)} (height, width); rerun from claim_regions"
        )
    return seeds_from_regions(record["regions"], record.class_ids, cue, saliency_threshold=seed.saliency_threshold)
