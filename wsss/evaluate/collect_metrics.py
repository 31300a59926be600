"""Stage: every number of the run in one tidy table."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from wsss.artefacts import METRIC_COLUMNS, ArtefactError, open_text, read_json, write_csv
from wsss.graph import Graph
from wsss.sections import PlanSettings

ROUND_FIGURES = ("final_loss", "new_area", "claimed_share", "erased_share")


def collect_metrics(*, fragments: list[Path], settings: PlanSettings, output: Path) -> None:
    """Join the fragments, and add timing rows and the figures of the rounds.

    Args:
        fragments: CSV files of metric rows.
        settings: The configuration and the rounds used: they say where the records of trainings lie.
        output: metrics.csv: run,method,variant,stage,round,cycle,split,seed,threshold,metric,class,value.

    Raises:
        ArtefactError: If a fragment is malformed or a value is not finite.
    """
    rows: list[dict[str, Any]] = []
    for path in fragments:
        with open_text(path) as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != METRIC_COLUMNS:
                raise ArtefactError(f"{path}: found columns {reader.fieldnames}, expected {list(METRIC_COLUMNS)}; delete it and rerun")
            rows += [{**line, "_file": path} for line in reader]
    if fragments:
        rows += record_rows(settings)
    for line in rows:
        if not math.isfinite(float(line["value"])):
            raise ArtefactError(f"{line.get('_file', 'records')}: {line['metric']} is {line['value']}; a number was expected: look at the stage's log")
    write_csv(output, METRIC_COLUMNS, [{k: line.get(k, "") for k in METRIC_COLUMNS} for line in rows])


def record_rows(settings: PlanSettings) -> list[dict[str, Any]]:
    """Rows of stage `timing` (seconds, peak_memory_mb of trainings) and `round` (its figures), a round repeated under each method that uses it."""
    out: list[dict[str, Any]] = []
    for record in Graph(settings.config).records(settings.rounds):
        values = read_json(Path(record["file"]))
        base = {"run": settings.config.run, "seed": settings.config.seed, "split": "train"}
        base |= {k: "" if record[k] is None else record[k] for k in ("method", "variant", "round", "cycle")}
        if record["kind"] != "round":
            out += [{**base, "stage": "timing", "metric": m, "value": values[m]} for m in ("seconds", "peak_memory_mb")]
        else:
            out += [{**base, "stage": "round", "metric": m, "value": values[m]} for m in ROUND_FIGURES]
    return out
