"""Whether two runs ended with the same: every artefact bit for bit, apart from times."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch

from wsss.provenance.records import SUFFIX

TIMES = {"seconds", "peak_memory_mb", "made", "host", "digest", "size", "revision"}
"""Keys of JSON files that differ between equal runs: times, and digests of files that hold times."""
OTHER = {"report/index.html"}
"""Files that hold times as text; that they are there is all that is compared."""


def differences(ours: Path, theirs: Path, *, part: bool = False) -> list[str]:
    """What differs between two runs' folders, without logs and benchmarks. `part`: only of files in the first."""
    a, b = artefacts(ours), artefacts(theirs)
    missing = [] if part else [f"{name} is missing" for name in sorted(b - a)]
    return (
        missing
        + [f"{name} is new" for name in sorted(a - b)]
        + [f"{name} differs" for name in sorted(a & b) if not same(ours / name, theirs / name, name=name)]
    )


def artefacts(run: Path) -> set[str]:
    """Paths of a run's files, relative to its folder; temporary and resume files are among them."""
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    return {name for name in names if name.split("/")[0] not in ("logs", "benchmarks")}


def same(a: Path, b: Path, *, name: str) -> bool:
    """Whether two files hold the same, times left out."""
    if a.read_bytes() == b.read_bytes() or name in OTHER:
        return True
    if a.suffix == ".pt":
        return same_network(a, b)
    if a.name == "metrics.csv":
        return figures(a) == figures(b)
    if name.endswith(SUFFIX) or a.suffix == ".json":
        return untimed(json.loads(a.read_text())) == untimed(json.loads(b.read_text()))
    return False


def same_network(a: Path, b: Path) -> bool:
    """Whether two networks hold the same weights and say the same of themselves."""
    ours, theirs = (torch.load(path, weights_only=True) for path in (a, b))
    states = [saved.pop("state") for saved in (ours, theirs)]
    return (
        ours == theirs
        and states[0].keys() == states[1].keys()
        and all(torch.equal(v, states[1][k]) for k, v in states[0].items())
    )


def figures(path: Path) -> list[list[str]]:
    """The rows of a metrics.csv, times left out."""
    with path.open(newline="") as file:
        return [row for row in csv.reader(file) if "timing" not in row]


def untimed(value: Any) -> Any:
    """JSON without times."""
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if k not in TIMES}
    return [untimed(v) for v in value] if isinstance(value, list) else value


def leftovers(folder: Path, *, kept: str = "") -> list[str]:
    """Temporary and resume files in a folder, without the resume file that a workflow has `kept` for a later stage."""
    found = (
        str(p.relative_to(folder))
        for p in folder.rglob("*")
        if ".tmp-" in p.name or (p.parent.name == ".resume" and p.is_file())
    )
    return sorted(name for name in found if name != kept)
