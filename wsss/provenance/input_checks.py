"""Before a stage begins: are its inputs what the stage before wrote, by the provenance records (no torch)?

A digit that changed on disk leaves a CSV or JSON readable, and everything made from it would be silently wrong. The
stage command digests its inputs anyway for its own record, so the comparison is free. A file without a record is taken
as it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.files.errors import ArtefactError
from wsss.provenance.records import SUFFIX, read_record, record_of
from wsss.runtime.console import warn

LISTED = 5
"""Files that one error names."""
TOLERANCE = 5.0
"""Seconds by which the clocks of two machines may differ without a warning."""


def check_inputs(inputs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Stop if a file is not as the stage of this package wrote it.

    Args:
        inputs: By parameter: path, size and digest of every file (`records.file_states`).

    Raises:
        ArtefactError: Names such files, up to 5, and the command that remakes each.
    """
    entries = {e["path"]: e for listed in inputs.values() for e in listed}
    records = _Records()
    changed = [text for e in entries.values() if (text := records.fault(Path(e["path"]), e["digest"]))]
    if changed:
        more = f"\nand {len(changed) - LISTED} more" if len(changed) > LISTED else ""
        raise ArtefactError("\n".join(changed[:LISTED]) + more)


def warn_of_future(files: Iterable[Path]) -> None:
    """Warn if a file was written in the future: Snakemake compares times, and may stop or make too little.

    Args:
        files: What a stage reads, and its own earlier record; missing ones are left out.
    """
    ahead = {path: path.stat().st_mtime - time.time() for path in files if path.is_file()}
    path = max(ahead, key=lambda p: ahead[p], default=None)
    if path is None or ahead[path] <= TOLERANCE:
        return
    text = "%s was written %.0f s in the future: a clock was set back, or those of two machines differ. "
    advice = "Snakemake may stop, or take old files for new ones: correct the clock and run `wsss verify`"
    warn(text + advice, path, ahead[path])


class _Records:
    """The records beside the inputs of one stage, each read once."""

    def __init__(self) -> None:
        self._folders: dict[Path, list[Path]] = {}
        self._read: dict[Path, dict[str, Any]] = {}

    def fault(self, path: Path, digest: str) -> str:
        """What is wrong with a file of this digest; "" if nothing is, or no record names it."""
        for record in self._beside(path):
            expected = self._products(record).get(os.path.relpath(path, record.parent), digest)
            if expected != digest:
                made, output = self._read[record], record.with_name(record.name.removesuffix(SUFFIX))
                written = f"as {made['stage']} wrote it on {made['made']}"
                found = f"found digest {digest[:12]}, expected {expected[:12]} {written}: damaged or edited since"
                command = f"`snakemake {output} --forcerun {output}`, with the run's --configfile, remakes it"
                return f"{path}: {found}. {command}; then go on as before. To use it as it is, delete {record}"
        return ""

    def _beside(self, path: Path) -> list[Path]:
        """The file's own record; else those in its folder and in the folder above, which may list further products."""
        own = record_of(path)
        if own.is_file():
            return [own]
        return [record for folder in (path.parent, path.parent.parent) for record in self._listed(folder)]

    def _listed(self, folder: Path) -> list[Path]:
        if folder not in self._folders:
            self._folders[folder] = sorted(folder.glob(f"*{SUFFIX}"))
        return self._folders[folder]

    def _products(self, record: Path) -> dict[str, str]:
        """Digests of a record's products by their path from its folder; none if the record cannot be used."""
        if record not in self._read:
            try:
                self._read[record] = read_record(record)
            except ArtefactError as error:
                warn("%s; the files that it lists are used as they are", error)
                self._read[record] = {"products": []}
        products = self._read[record]["products"]
        return {os.path.relpath(p["path"], os.path.dirname(products[0]["path"])): p["digest"] for p in products}
