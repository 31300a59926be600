"""What the jobs of a run left: records of trainings and rounds, time and memory, warnings in logs (no torch)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from wsss.files.json_files import Figures, read_checked
from wsss.workflow.rows import RunPlan, TrainingRecord

WITHOUT_METHOD = ("index_images", "estimate_saliency", "propose_masks", "collect_metrics", "write_report")
"""Stages whose logs do not begin with a method's name."""


@dataclass(frozen=True, kw_only=True)
class ReadRecord:
    """A record with its content, once for all methods that share its file.

    Attributes:
        record: Of the first method.
        owners: The methods that share the file, e.g. "cam = erasing".
        figures: Content of the file, as `Figures` describes it.
    """

    record: TrainingRecord
    owners: str
    figures: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What it is about, e.g. "cam = erasing, round 1"."""
        r = self.record
        return f"{self.owners} · {r.variant}, cycle {r.cycle}" if r.round is None else f"{self.owners}, round {r.round}"


def read_records(plan: RunPlan) -> list[ReadRecord]:
    """The records that exist, each file once.

    Raises:
        ArtefactError: If a file is damaged.
    """
    owners: dict[str, list[str]] = {}
    for record in plan.records:
        owners.setdefault(record.file, []).append(record.method)
    first = {record.file: record for record in reversed(plan.records)}
    return [
        ReadRecord(record=first[file], owners=" = ".join(methods), figures=read_checked(Path(file), Figures))
        for file, methods in owners.items()
        if Path(file).is_file()
    ]


@dataclass(frozen=True, kw_only=True)
class RuleTime:
    """Time and memory of a rule's jobs: seconds in sum and of the longest, peak resident memory in MB."""

    rule: str
    jobs: int
    seconds: float
    longest: float
    peak_mb: float


def read_benchmarks(folder: Path) -> list[RuleTime]:
    """One row a rule from Snakemake's {rule}/*.tsv, the longest first; empty without the folder.

    Jobs too short to be sampled have "-" or NA, which counts as 0.
    """
    tables = [
        pd.read_csv(path, sep="\t", usecols=["s", "max_rss"], na_values=["-", "NA"]).assign(rule=rule.name)
        for rule in sorted(p for p in folder.glob("*") if p.is_dir())
        for path in sorted(rule.rglob("*.tsv"))
        if path.stat().st_size > 0  # a full disk leaves empty ones
    ]
    if not tables:
        return []
    found = [
        RuleTime(
            rule=str(rule),
            jobs=len(jobs),
            seconds=float(jobs["s"].sum()),
            longest=float(jobs["s"].max()),
            peak_mb=float(jobs["max_rss"].max()),
        )
        for rule, jobs in pd.concat(tables).fillna(0.0).groupby("rule")
    ]
    return sorted(found, key=lambda r: -r.seconds)


def log_warnings(folder: Path, *, methods: Collection[str]) -> list[str]:
    """WARNING lines in the logs of a run, each once.

    Args:
        folder: Folder of the logs.
        methods: The run's methods. Logs of others were left by earlier settings and are not read.

    Returns:
        Each line with the first log that has it, and the number of further logs.
    """
    logs = sorted(p for p in folder.rglob("*.log") if p.parent.name in WITHOUT_METHOD or _method(p) in methods)
    found: dict[str, dict[str, None]] = {}
    for path in logs:
        name = str(path.relative_to(folder).with_suffix(""))
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            _, warned, text = line.partition(" WARNING ")
            if warned:
                found.setdefault(text, {})[name] = None
    return [f"{_first_of(list(names))}: {text}" for text, names in found.items()]


def _method(log: Path) -> str:
    return log.stem.split("-")[0]


def _first_of(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
