"""Stage: the region that a round claims for each class."""

from __future__ import annotations

from pathlib import Path

from wsss.files.index import ImageIndex
from wsss.files.store import MapReader, MapWriter
from wsss.runtime.console import log, progress, warn
from wsss.settings.stage_settings import ClaimSettings
from wsss.stages.seeds.regions import claim

NEARLY_ALL = 0.9
"""Share of the pixels above which a round claims too much."""


def claim_regions(*, index: Path, shard: Path, scores: Path, settings: ClaimSettings, output: Path) -> None:
    """Threshold the upsampled score maps of one shard: one region for each present class.

    Args:
        index: The data set's index.csv.
        shard: The shard's list of images.
        scores: Store file with the round's `scores` (K, h, w). A map of the background claims nothing.
        settings: Threshold and normalisation.
        output: Store file with `regions` (K, H, W) bool.

    Raises:
        ArtefactError: If an input is missing or damaged.
    """
    rows = ImageIndex(index).shard(shard)
    c, plain = settings.claim, settings.model_dump(mode="json")
    claimed = 0.0
    with MapReader(scores) as maps, MapWriter(output, stage="claim_regions", settings=plain) as writer:
        for row in progress(rows, what="regions"):
            record = maps.read(row.image_id, "scores")
            foreground, size = record.class_ids > 0, (row.height, row.width)
            planes = record["scores"][foreground]  # (K, h, w)
            regions = claim(planes, size=size, rel_threshold=c.rel_threshold, normalise=c.normalise)  # (K, H, W)
            claimed += float(regions.any(0).mean()) if len(regions) else 0.0
            writer.write(row.image_id, record.class_ids[foreground], regions=regions)
    share = claimed / max(len(rows), 1)
    log.info("%d images, %.1f %% of the pixels claimed on average", len(rows), 100 * share)
    if rows and (share == 0 or share > NEARLY_ALL):
        warn(
            "the round claims %.1f %% of the pixels: check seeds.claim.rel_threshold (%g) and the classifier's loss",
            100 * share,
            c.rel_threshold,
        )
