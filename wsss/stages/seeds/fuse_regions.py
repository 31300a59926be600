"""Stage: put the rounds together, per class."""

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
    """Union of the rounds' regions and maximum of their max-normalised scores, or the last round's alone, as the method says.

    Args:
        index: The data set's index.csv.
        shard: The shard's list of images.
        scores: Score maps of the shard, one file a round, in order.
        regions: Regions of the shard, one file a round, in order.
        settings: Method kind and the weight of later rounds.
        output: Store file with `regions` (K, H, W) bool and `scores` (K, h, w) float16 in [0, 1]; of methods with a background map also `raw` (K, h, w) and `background` (h, w) float16, which decide without a threshold.

    Raises:
        ArtefactError: If an input is missing or damaged, or scores and regions are not of equally many rounds.
    """
    if not scores or len(scores) != len(regions):
        raise ArtefactError(
            f"found scores of {len(scores)} rounds and regions of {len(regions)}; give both of every round, in order"
        )
    rows = ImageIndex(index).shard(shard)
    has_background = FACTS[settings.kind].background
    first = -1 if FACTS[settings.kind].fuse == "last" and not settings.fuse.weights else 0
    score_maps, region_maps = ([MapReader(p) for p in paths[first:]] for paths in (scores, regions))
    with MapWriter(output, stage="fuse_regions", settings=settings.model_dump(mode="json")) as writer:
        for row in progress(rows, what="fusion"):
            records = [m.read(row.image_id, "scores") for m in score_maps]
            planes = [r["scores"][r.class_ids > 0] for r in records]
            f = settings.fuse
            arrays = {
                "scores": fuse_weighted(planes, f.weights)
                if f.weights
                else fuse_scores(planes, later_weight=f.later_weight)
            }
            if has_background:
                arrays["raw"], arrays["background"] = fuse_probabilities(planes, [r["scores"][0] for r in records])
            region = unite([m.read(row.image_id)["regions"] for m in region_maps])
            writer.write(
                row.image_id,
                row.class_ids,
                regions=region,
                **{name: a.astype(np.float16) for name, a in arrays.items()},
            )
    for reader in [*score_maps, *region_maps]:
        reader.close()
