"""Stage: every number of the run in one tidy table."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from wsss.files.errors import ArtefactError
from wsss.files.json_files import Figures, read_checked
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.text_files import open_text, write_csv
from wsss.settings.stage_settings import PlanSettings
from wsss.workflow.graph import Graph

ROUND_FIGURES = ("final_loss", "new_area", "claimed_share", "erased_share")
TIMING_FIGURES = ("seconds", "peak_memory_mb")
STAGES = ("scores", "fused", "round", "seed", "pseudo", "prediction", "instances", "timing")
"""Order of the rows, as data flows; others come last."""
NUMBERS = ("round", "cycle", "threshold")
"""Columns ordered by value."""


def collect_metrics(*, fragments: list[Path], settings: PlanSettings, output: Path) -> None:
    """Join the fragments, and add timing rows and the figures of the rounds.

    Args:
        fragments: CSV files of metric rows, in any order.
        settings: The configuration and the rounds used: they say where the records of trainings lie. Without rounds no record is read.
        output: metrics.csv: run,method,variant,stage,round,cycle,split,seed,threshold,metric,class,value; sorted.

    Raises:
        ArtefactError: If a file is missing or malformed, a value is not finite, or two rows say the same thing.
    """
    rows = [line for path in fragments for line in fragment_rows(path)] + record_rows(settings)
    places: dict[tuple[str, ...], Any] = {}
    for line in rows:
        key = tuple(str(line.get(k, "")) for k in METRIC_COLUMNS if k != "value")
        if key in places:
            named = ", ".join(f"{k} {v}" for k, v in zip(METRIC_COLUMNS, key, strict=False) if v)
            raise ArtefactError(
                f"{line['_file']}: the row of {named} is already in {places[key]}; one number a row was expected: delete both files and rerun"
            )
        places[key] = line["_file"]
        try:
            finite = math.isfinite(float(line["value"]))
        except (ValueError, TypeError):
            finite = False
        if not finite:
            raise ArtefactError(
                f"{line['_file']}: {line['metric']} is {line['value']!r}, expected a finite number; look at the log of its stage, delete the file and rerun"
            )
    ordered = sorted(rows, key=_order)  # stable: classes stay in the fragment's order, by id
    write_csv(output, METRIC_COLUMNS, [{k: line.get(k, "") for k in METRIC_COLUMNS} for line in ordered])


def fragment_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of one fragment, with `_file`.

    Raises:
        ArtefactError: If it is missing, has other columns or a row of another length.
    """
    with open_text(path) as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != METRIC_COLUMNS:
            raise ArtefactError(
                f"{path}: found columns {reader.fieldnames}, expected {list(METRIC_COLUMNS)}; delete it and rerun"
            )
        lines = list(reader)
    for number, line in enumerate(lines, 2):
        if None in line or None in line.values():
            raise ArtefactError(f"{path}: row {number}: expected {len(METRIC_COLUMNS)} fields; delete it and rerun")
        for column in NUMBERS:
            try:
                float(line[column] or 0)
            except ValueError:
                raise ArtefactError(
                    f"{path}: row {number}: {column} is {line[column]!r}, expected a number or nothing; delete it and rerun"
                ) from None
    return [{**line, "_file": path} for line in lines]


def record_rows(settings: PlanSettings) -> list[dict[str, Any]]:
    """Rows of stage `timing` (seconds, peak_memory_mb of trainings) and `round` (its figures), a round repeated under each method that uses it.

    Raises:
        ArtefactError: If a record is missing or lacks a figure.
    """
    if not settings.rounds:
        return []
    if unknown := [m for m in settings.config.methods if m not in settings.rounds]:
        raise ValueError(
            f"settings.rounds names no number for {', '.join(unknown)}; expected one for each of {', '.join(settings.config.methods)}"
        )
    out: list[dict[str, Any]] = []
    for record in Graph(settings.config).records(settings.rounds):
        path = Path(record["file"])
        values = read_checked(path, Figures)
        stage, names = ("round", ROUND_FIGURES) if record["kind"] == "round" else ("timing", TIMING_FIGURES)
        if missing := [m for m in names if m not in values]:
            raise ArtefactError(f"{path}: {', '.join(missing)} missing; delete it and rerun its stage")
        base = {
            "run": settings.config.run,
            "seed": settings.config.seed,
            "split": "train",
            "stage": stage,
            "_file": path,
        }
        base |= {k: "" if record[k] is None else record[k] for k in ("method", "variant", "round", "cycle")}
        out += [{**base, "metric": m, "value": values[m]} for m in names]
    return out


def _order(line: dict[str, Any]) -> tuple[Any, ...]:
    """Method, variant, stage as data flows, round, cycle, split, metric, threshold (numbers by value, empty first)."""
    stage = line["stage"]
    place = STAGES.index(stage) if stage in STAGES else len(STAGES)
    numbers = {k: float(line[k]) if str(line.get(k, "")) else -1.0 for k in NUMBERS}
    return (
        line["run"],
        line["method"],
        line["variant"],
        place,
        stage,
        numbers["round"],
        numbers["cycle"],
        line["split"],
        line["metric"],
        numbers["threshold"],
    )
