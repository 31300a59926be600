"""Stage: seed masks from fused regions or scores and a background cue."""

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

    The masks have image size and hold 0 (background), 1..C (class) or 255 (ignore).

    Args:
        index: The data set's index.csv.
        shard: Shard file that lists the images.
        fused: Store file with `regions` (K, H, W) bool and `scores` (K, h, w); for the cue network also `raw` (K, h, w)
            and `background` (h, w).
        saliency: Store file with `saliency` (H, W) uint8, divided by 255 here; needed by the cue saliency.
        settings: Kind of seed mask, cue and thresholds.
        output: Store file with `mask` (H, W) uint8, and the image's classes as class ids.

    Raises:
        ValueError: If the cue needs saliency and there is none, or all masks come out without a class.
    """
    seed = settings.seed
    if seed.cue == "saliency" and saliency is None:
        raise ValueError(
            "make_seeds: pseudo.seed.cue is saliency, but there is none; "
            "set saliency.kind to barrier, u2net or folder, or pseudo.seed.cue to constant"
        )
    guard = BackgroundGuard(stage="make_seeds", look_at=f"{_look_at(seed)} (settings: {seed.model_dump()})")
    arrays = _arrays(seed)
    maps, cues = MapReader(fused), MapReader(saliency) if saliency and seed.cue == "saliency" else None
    with MapWriter(output, stage="make_seeds", settings=settings.model_dump()) as writer:
        for row in progress(ImageIndex(index).shard(shard), what="make_seeds"):
            record = maps.read(row.image_id, *arrays)
            mask = _seed_mask(row, record, cue=read_saliency(cues, row) if cues else None, seed=seed)
            guard.add(mask, record.class_ids)
            writer.write(row.image_id, record.class_ids, mask=mask)
        guard.check()


def _look_at(seed: SeedMaskSection) -> str:
    """The settings to check if masks come out without a class."""
    if seed.kind == "scores":
        return "pseudo.seed.background, pseudo.seed.cue and saliency.kind"
    threshold = "pseudo.seed.region_threshold" if seed.region_threshold else "seeds.claim.rel_threshold"
    return f"pseudo.seed.saliency_threshold, saliency.kind and {threshold}"


def _arrays(seed: SeedMaskSection) -> tuple[str, ...]:
    """The arrays of a fused record that the settings need."""
    if seed.cue == "network":
        return ("raw", "background")
    return ("regions",) if seed.kind == "regions" and not seed.region_threshold else ("scores",)


def _seed_mask(row: ImageRow, record: MapRecord, *, cue: np.ndarray | None, seed: SeedMaskSection) -> np.ndarray:
    """(H, W) uint8 mask of one image."""
    size, class_ids = (row.height, row.width), record.class_ids
    if seed.cue == "network":
        return seeds_from_network(record["raw"], record["background"], class_ids, size=size)
    if seed.kind == "scores":
        background = seed.background if cue is None else 1 - cue
        return seeds_from_scores(record["scores"], class_ids, size=size, background=background)
    if seed.region_threshold:
        regions = resize_maps(record["scores"], size=size) > seed.region_threshold  # (K, H, W)
    else:
        regions = record["regions"]
        if regions.shape[1:] != size:
            raise ArtefactError(
                f"image {row.image_id}: regions are {regions.shape[1:]}, the index says {size} (height, width); "
                "rerun from claim_regions"
            )
    return seeds_from_regions(regions, class_ids, cue, saliency_threshold=seed.saliency_threshold)
