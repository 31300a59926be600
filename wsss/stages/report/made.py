"""What made the run: versions, device, code and seeds, from the provenance records, and whether all agree."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wsss import __version__
from wsss.files.errors import ArtefactError
from wsss.files.provenance_files import SUFFIX, find_records, mixtures, read_record, stale_inputs
from wsss.runtime.console import revision

NAMED = 3
"""Products that one line names."""
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "pydensecrf2", "snakemake")
"""Distributions whose versions a page without records names."""


@dataclass(frozen=True, kw_only=True)
class StageMade:
    """What made a stage's products.

    Attributes:
        stage: The stage.
        products: Number of its outputs.
        codes: Digests of its code, one a kind of method.
        seeds: Seeds.
        devices: Devices.
        seconds: Seconds of all its jobs.
        last: Day of the last job, e.g. 2026-01-31.
    """

    stage: str
    products: int
    codes: list[str]
    seeds: list[str]
    devices: list[str]
    seconds: float
    last: str


@dataclass(frozen=True, kw_only=True)
class Made:
    """The section of the page.

    Attributes:
        products: Number of outputs that have a record.
        facts: (name, value) of versions and machine.
        stages: A row a stage, in the order in which they were first made.
        faults: (level, text) of what does not agree.
    """

    products: int
    facts: list[tuple[str, str]] = field(default_factory=list)
    stages: list[StageMade] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)


def read_made(run: Path) -> Made:
    """Read the records under a run's folder; their products are not read."""
    records: dict[str, dict[str, Any]] = {}
    broken = []
    for path in find_records(run):
        output = str(path.relative_to(run)).removesuffix(SUFFIX)
        try:
            records[output] = read_record(path)
        except ArtefactError:
            broken.append(output)
    return made_of(records, broken=broken)


def made_of(records: Mapping[str, Mapping[str, Any]], *, broken: list[str]) -> Made:
    """The section of some records.

    Args:
        records: Output to its record.
        broken: Outputs whose record cannot be used.
    """
    ordered = sorted(records.values(), key=lambda r: str(r["made"]))
    names = dict.fromkeys(str(r["stage"]) for r in ordered)
    stages = [_stage([r for r in ordered if r["stage"] == name]) for name in names]
    faults = [*_mixed(records), *_stale(records)]
    faults += [("bad", f"the record of {_named(broken)} cannot be used")] if broken else []
    return Made(products=len(records), facts=_facts(ordered), stages=stages, faults=faults)


def _mixed(records: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """A note on everything that a run should have one of."""
    out = []
    for what, values in mixtures(records).items():
        text = ", ".join(f"{value} made {_named(outputs)}" for value, outputs in values.items())
        out.append(("note", f"more than one {what}: {text}"))
    return out


def _stale(records: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Inputs that changed after something was made from them."""
    stale: dict[str, list[str]] = {}
    for output, path in stale_inputs(records):
        stale.setdefault(path, []).append(output)
    return [
        ("bad", f"{path} was made again after {_named(outputs)} had been made from it")
        for path, outputs in stale.items()
    ]


def _named(outputs: list[str]) -> str:
    return ", ".join(outputs[:NAMED]) + (f" and {len(outputs) - NAMED} more" if len(outputs) > NAMED else "")


def _stage(records: list[Mapping[str, Any]]) -> StageMade:
    return StageMade(
        stage=records[0]["stage"],
        products=len(records),
        codes=_values([r["code"] for r in records]),
        seeds=_values([r["seed"] for r in records]),
        devices=_values([r["device"] for r in records]),
        seconds=sum(float(r["seconds"]) for r in records),
        last=str(records[-1]["made"])[:10],
    )


def _facts(records: list[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(name, value) of versions and machine; several values where records differ."""
    names = dict.fromkeys(name for r in records for name in r["libraries"])
    computed = [r for r in records if "compute" in r["settings"]]
    found = {"wsss": [f"{r['wsss']} ({r['revision']})" for r in records], "python": [r["python"] for r in records]}
    found |= {name: [r["libraries"].get(name, "none") for r in records] for name in names}
    found |= {name: [r[name] for r in computed] for name in ("device", "threads", "precision")}
    found |= {
        "processor": [r["processor"] for r in records],
        "host": [r["host"] for r in records],
        "seed": [r["seed"] for r in computed],
    }
    return [(name, text) for name, values in found.items() if (text := ", ".join(_values(values)))]


def _values(values: list[Any]) -> list[str]:
    """Each value once, in order; None left out."""
    return list(dict.fromkeys(v if isinstance(v, str) else json.dumps(v) for v in values if v is not None))


def versions() -> dict[str, str]:
    """Versions of what writes the page, by name."""
    out = {"wsss": f"{__version__} ({revision()})", "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out | {"system": f"{platform.system()} {platform.machine()}"}
