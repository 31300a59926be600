"""A run's folder as `wsss verify` sees it: its records, the digests of its files, and what was found (no torch)."""

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
HINT = f"`{AGAIN}` stands for the command that made the run, with its --configfile; several files may be named, before --forcerun and after it. Afterwards run it as it is."


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line: the file, what was found and expected, and the command that mends it; a warning leaves the run valid."""

    file: str
    text: str
    mend: str = ""
    warning: bool = False

    def __str__(self) -> str:
        return f"{'warning' if self.warning else 'fault'}: {self.file}: {self.text}" + (
            f"; mend: {self.mend}" if self.mend else ""
        )


@dataclass(kw_only=True)
class RunState:
    """A run's folder as it is: records by output, digests by file (paths relative to `folder`), and what was found."""

    folder: Path
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def fault(self, path: str, text: str, mend: str) -> None:
        """Note a fault of a file of the run."""
        self.findings.append(Finding(file=str(self.folder / path), text=text, mend=mend))

    def remade(self, output: str) -> str:
        """The command that makes a stage's product anew, and nothing else: Snakemake alone does not miss a product that nothing needs any more."""
        file = shlex.quote(spelt(self.folder / output))
        return f"{AGAIN} {file} --forcerun {file}"


def read_run(folder: Path) -> RunState:
    """A run with its records and the digests of all files that they name; paths in it become relative to the run's folder, or absolute."""
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
    """Digests of the files that exist, several at a time (digesting releases the interpreter's lock).

    Args:
        run: The run's folder.
        paths: Relative to it, or absolute.
    """
    there = sorted(p for p in paths if (run / p).is_file())
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda p: file_digest(run / p), there)
        return dict(zip(there, progress(found, what="digesting", total=len(there), unit="file"), strict=True))
