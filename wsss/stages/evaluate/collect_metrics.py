"""Stage: every number of the run in one tidy table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from wsss.files.atomic import atomic
from wsss.files.errors import ArtefactError
from wsss.files.json_files import Figures, read_checked
from wsss.files.metric_table import NUMBERS, read_metric_rows
from wsss.files.metrics import METRIC_COLUMNS
from wsss.settings.stage_settings import PlanSettings
from wsss.workflow.graph import Graph
from wsss.workflow.rows import TrainingRecord

ROUND_FIGURES = ("final_loss", "new_area", "claimed_share", "erased_share")
TIMING_FIGURES = ("seconds", "peak_memory_mb")
STAGES = ("scores", "fused", "round", "seed", "pseudo", "prediction", "instances", "timing")
"""Order of the rows, as data flows; other stages come last."""
ORDER = ("run", "method", "variant", "place", "stage", "round", "cycle", "split", "metric", "threshold", "line")
"""What the rows are sorted by; `place` is the position in STAGES, `line` the place before sorting."""
KEYS = [column for column in METRIC_COLUMNS if column != "value"]
SOURCE = "file"
"""Column that says where a row came from. It is not written."""


def collect_metrics(*, fragments: list[Path], settings: PlanSettings, output: Path) -> None:
    """Join the fragments, and add timing rows and the figures of the rounds.

    Args:
        fragments: CSV files of metric rows, in any order.
        settings: The configuration and the rounds used. They say where the records of trainings are.
            Without rounds no record is read.
        output: metrics.csv: run,method,variant,stage,round,cycle,split,seed,threshold,metric,class,value; sorted.

    Raises:
        ArtefactError: If a file is missing or malformed, a value is not finite, or two rows have the same keys.
        ValueError: If `settings` lacks the rounds of a method.
    """
    rows = pd.concat([*map(fragment_rows, fragments), record_rows(settings)], ignore_index=True)
    refuse_repeated(rows)
    with atomic(output) as temporary:
        in_order(rows)[[*METRIC_COLUMNS]].to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")


def fragment_rows(path: Path) -> pd.DataFrame:
    """Rows of one fragment, as text.

    Raises:
        ArtefactError: If the file is missing or malformed, or a value is not finite.
    """
    advice = "look at the log of its stage, delete it and rerun"
    return read_metric_rows(path, advice=advice).assign(**{SOURCE: str(path)})


def record_rows(settings: PlanSettings) -> pd.DataFrame:
    """Rows of stage `timing` (seconds, peak_memory_mb of trainings) and `round` (its figures), as text.

    A round that several methods share is repeated under each.

    Raises:
        ArtefactError: If a record is missing or lacks a figure.
        ValueError: If `settings` has rounds, but not those of every method.
    """
    missing = [m for m in settings.config.methods if m not in settings.rounds]
    if settings.rounds and missing:
        raise ValueError(
            f"settings.rounds: found no number for {', '.join(missing)}, "
            f"expected one for each of {', '.join(settings.config.methods)}"
        )
    records = Graph(settings.config).records(settings.rounds) if settings.rounds else []
    rows = [row for record in records for row in _rows_of(record)]
    shared = {"run": settings.config.run, "seed": str(settings.config.seed), "split": "train"}
    return pd.DataFrame(rows, columns=[*METRIC_COLUMNS, SOURCE], dtype=object).fillna("").assign(**shared)


def _rows_of(record: TrainingRecord) -> list[dict[str, str]]:
    """The figures of one record, a row each."""
    stage, names = ("round", ROUND_FIGURES) if record.kind == "round" else ("timing", TIMING_FIGURES)
    values = read_checked(Path(record.file), Figures)
    if missing := [name for name in names if values.get(name) is None]:
        raise ArtefactError(f"{record.file}: {', '.join(missing)} missing; delete it and rerun its stage")
    place = {"method": record.method, "variant": record.variant, "stage": stage, SOURCE: record.file}
    place |= {name: str(n) for name, n in (("round", record.round), ("cycle", record.cycle)) if n is not None}
    return [{**place, "metric": name, "value": str(values[name])} for name in names]


def refuse_repeated(rows: pd.DataFrame) -> None:
    """Check that no two rows have the same keys.

    Raises:
        ArtefactError: If two have; names both files.
    """
    repeated = rows.duplicated(KEYS)
    if not repeated.any():
        return
    second = rows[repeated].iloc[0]
    first = rows[(rows[KEYS] == second[KEYS]).all(axis="columns")].iloc[0]
    named = ", ".join(f"{key} {second[key]}" for key in KEYS if second[key])
    raise ArtefactError(
        f"{second[SOURCE]}: the row of {named} is already in {first[SOURCE]}; "
        "expected one number a row: delete both files and rerun"
    )


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows by method, variant, stage as data flows, round, cycle, split, metric and threshold.

    Numbers are ordered by value, "" first. Classes keep the fragment's order, which is by id.
    """
    places = {stage: k for k, stage in enumerate(STAGES)}
    numbers = {column: pd.to_numeric(rows[column], errors="coerce").fillna(-1.0) for column in NUMBERS}
    place = rows["stage"].map(places).fillna(len(STAGES))
    order = rows.assign(place=place, line=range(len(rows)), **numbers).sort_values([*ORDER])
    return rows.loc[order.index]
