"""Stage: combine the rounds, class by class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.index import ImageIndex
from wsss.files.store import MapReader, MapWriter
from wsss.methods import FACTS
from wsss.runtime.console import progress
from wsss.settings.stage_settings import FuseSettings
from wsss.stages.seeds.regions import fuse_probabilities, fuse_scores, fuse_weighted, unite


def fuse_regions(
    *, index: Path, shard: Path, scores: list[Path], regions: list[Path], settings: FuseSettings, output: Path
) -> None:
    """Combine regions and scores of the rounds, as the method says.

    Either take the union of the regions and the maximum (or weighted mean) of the scores, each divided by its own
    maximum; or take the last round only.

    Args:
        index: The data set's index.csv.
        shard: The shard's list of images.
        scores: Score maps of the shard, one file a round, in order.
        regions: Regions of the shard, one file a round, in order.
        settings: Method kind and the weight of later rounds.
        output: Store file with `regions` (K, H, W) bool and `scores` (K, h, w) float16 in [0, 1]. Methods with a
            background map add `raw` (K, h, w) and `background` (h, w) float16, which decide without a threshold.

    Raises:
        ArtefactError: If an input is missing or damaged, or the numbers of rounds differ.
    """
    if not scores or len(scores) != len(regions):
        raise ArtefactError(
            f"found scores of {len(scores)} rounds and regions of {len(regions)}; give both of every round, in order"
        )
    rows = ImageIndex(index).shard(shard)
    facts, f = FACTS[settings.kind], settings.fuse
    first = -1 if facts.fuse == "last" and not f.weights else 0
    score_maps, region_maps = ([MapReader(p) for p in paths[first:]] for paths in (scores, regions))
    with MapWriter(output, stage="fuse_regions", settings=settings.model_dump(mode="json")) as writer:
        for row in progress(rows, what="fusion"):
            records = [m.read(row.image_id, "scores") for m in score_maps]
            planes = [r["scores"][r.class_ids > 0] for r in records]  # T of (K, h, w)
            fused = fuse_weighted(planes, f.weights) if f.weights else fuse_scores(planes, later_weight=f.later_weight)
            arrays = {"scores": fused}
            if facts.background:  # class 0 is stored first
                arrays["raw"], arrays["background"] = fuse_probabilities(planes, [r["scores"][0] for r in records])
            region = unite([m.read(row.image_id)["regions"] for m in region_maps])  # (K, H, W)
            halves = {name: a.astype(np.float16) for name, a in arrays.items()}
            writer.write(row.image_id, row.class_ids, regions=region, **halves)
    for reader in [*score_maps, *region_maps]:
        reader.close()
