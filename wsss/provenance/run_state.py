"""A run's folder as `wsss verify` sees it: records, digests of files, and what was found (no torch)."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsss.files.errors import ArtefactError
from wsss.provenance.records import SUFFIX, file_digest, find_records, read_record, spelt
from wsss.runtime.console import progress

AGAIN = "snakemake"
"""The command that made the run."""
HINT = (
    f"`{AGAIN}` stands for the command that made the run, with its --configfile. Several files may be named, before"
    " --forcerun and after it. Afterwards run it as it is."
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line: the file, what was found and expected, and what repairs it. A warning leaves the run valid."""

    file: str
    text: str
    remedy: str = ""
    warning: bool = False

    def __str__(self) -> str:
        line = f"{'warning' if self.warning else 'fault'}: {self.file}: {self.text}"
        return line + (f"; to repair: {self.remedy}" if self.remedy else "")


@dataclass(kw_only=True)
class RunState:
    """A run's folder: records by output, digests by file (paths relative to `folder`), and what was found."""

    folder: Path
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def fault(self, path: str, text: str, remedy: str) -> None:
        """Add a fault of a file of the run."""
        self.findings.append(Finding(file=str(self.folder / path), text=text, remedy=remedy))

    def remade(self, output: str) -> str:
        """The command that remakes one product: Snakemake does not miss a product whose users are up to date."""
        file = shlex.quote(spelt(self.folder / output))
        return f"{AGAIN} {file} --forcerun {file}"


def read_run(folder: Path) -> RunState:
    """Read a run's records and digest all files that they name.

    Paths become relative to the run's folder; those outside it become absolute.
    """
    state = RunState(folder=folder)
    for path in find_records(folder):
        output = str(path.relative_to(folder)).removesuffix(SUFFIX)
        try:
            record = read_record(path)
        except ArtefactError as error:
            state.fault(output + SUFFIX, str(error).removeprefix(f"{path}: "), state.remade(output))
            continue
        for entry in entries_of(record):
            absolute, base = Path(entry["path"]).absolute(), Path(record["run"]).absolute()
            entry["path"] = str(absolute.relative_to(base) if absolute.is_relative_to(base) else absolute)
        state.records[output] = record
    state.digests = digests(folder, {e["path"] for r in state.records.values() for e in entries_of(r)})
    return state


def entries_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every file of a record, products first."""
    return [*record["products"], *(e for entries in record["inputs"].values() for e in entries)]


def digests(run: Path, paths: Iterable[str]) -> dict[str, str]:
    """Digest the files that exist, several at a time (digesting releases the interpreter's lock).

    Args:
        run: The run's folder.
        paths: Relative to `run`, or absolute.
    """
    there = sorted(p for p in paths if (run / p).is_file())
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda p: file_digest(run / p), there)
        return dict(zip(there, progress(found, what="digesting", total=len(there), unit="file"), strict=True))
