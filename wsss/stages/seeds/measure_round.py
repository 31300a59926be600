"""Stage: the figures of a round. They decide nothing themselves: see `wsss.workflow.rounds.should_stop`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss.files.index import ImageIndex
from wsss.files.json_files import Figures, read_checked
from wsss.files.text_files import write_json
from wsss.runtime.console import progress
from wsss.stages.seeds.earlier import Erased


def measure_round(*, index: Path, record: Path, regions: list[Path], earlier: list[Path], output: Path) -> None:
    """Measure how much of the training images a round claims, and repeat its loss.

    Args:
        index: The data set's index.csv.
        record: training.json of the round.
        regions: The round's regions, all training shards.
        earlier: Regions of all earlier rounds that were hidden.
        output: metrics.json: the record with claimed_share, new_area (claimed now and not before) and erased_share,
            each a share of all training pixels, in [0, 1].

    Raises:
        ArtefactError: If an input is missing or damaged.
    """
    rows = ImageIndex(index).split("train")
    now, before = Erased(regions), Erased(earlier)
    pixels = claimed = new = hidden = 0
    for row in progress(rows, what="round figures"):
        region, old = now(row), before(row)
        pixels += row.height * row.width
        if old is not None:
            hidden += int(np.count_nonzero(old))
        if region is not None:
            claimed += int(np.count_nonzero(region))
            new += int(np.count_nonzero(region if old is None else region & ~old))
    shares = {"claimed_share": claimed / pixels, "new_area": new / pixels, "erased_share": hidden / pixels}
    write_json(output, {**read_checked(record, Figures), **shares})
