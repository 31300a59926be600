"""Whether what a stage is about to read is what the stage before wrote, by the provenance records (no torch).

A digit that changed on disk leaves a CSV or JSON readable, and what follows from it would be silently wrong. The stage command digests its inputs anyway, for its own record, so that comparing
them costs nothing more. A file without a record is taken as it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.files.artefacts import ArtefactError
from wsss.provenance.records import SUFFIX, read_record, record_of
from wsss.runtime.console import warn

LISTED = 5
"""Files that one error names."""
TOLERANCE = 5.0
"""Seconds by which clocks of machines may differ unnoticed."""
STEP = 1_000_000
"""Nanoseconds between the times that are given: more than file systems and Snakemake round away."""
PRODUCED = (".csv", ".json", ".h5", ".safetensors", ".html")
"""Endings of what rules have as input or output."""


def check_inputs(inputs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Stop if a file that a stage of this package wrote is not as it wrote it.

    Args:
        inputs: By parameter: path, size and digest of every file (`provenance_records.file_states`).

    Raises:
        ArtefactError: Names each such file, up to 5, and the command that makes it anew.
    """
    entries = {e["path"]: e for listed in inputs.values() for e in listed}
    records = _Records()
    changed = [text for e in entries.values() if (text := records.fault(Path(e["path"]), e["digest"]))]
    if changed:
        more = f"\nand {len(changed) - LISTED} more" if len(changed) > LISTED else ""
        raise ArtefactError("\n".join(changed[:LISTED]) + more)


def mend_clock(files: Iterable[Path], *, output: Path) -> None:
    """Where a file is from the future, give what the run holds from the future times up to now, in the order it has, and say so.

    A clock was set back, or another machine's is ahead. Snakemake goes by such times: it would stop at a product that is older than what it was made from, and take files that were made before a
    clock was set back for newer than what is made anew.

    Args:
        files: What a stage reads, and its own earlier record; those that exist are looked at.
        output: What the stage writes; the nearest folder above it that has a folder dataset is the run's.
    """
    ahead = {path: path.stat().st_mtime - time.time() for path in files if path.is_file()}
    path = max(ahead, key=lambda p: ahead[p], default=None)
    if path is None or ahead[path] <= TOLERANCE:
        return
    run = next((p for p in output.absolute().parents if (p / "dataset").is_dir()), output.absolute().parent)
    now = time.time_ns()
    late = sorted(
        (state.st_mtime_ns, p)
        for p in run.rglob("*")
        if p.suffix in PRODUCED and p.is_file() and (state := p.stat()).st_mtime_ns > now
    )
    for k, (_, product) in enumerate(late):
        at = now - (len(late) - k) * STEP
        os.utime(product, ns=(at, at))
    text = "%s was written %.0f s in the future: a clock was set back, or two differ. %d files of %s have been given times up to now, in the order they had"
    warn(text, path, ahead[path], len(late), run)


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
                return (
                    f"{path}: found digest {digest[:12]}, expected {expected[:12]} as {made['stage']} wrote it on {made['made']}: damaged or edited since. "
                    f"`snakemake {output} --forcerun {output}`, with the run's --configfile, makes it anew; then go on as before. To use it as it is, delete {record}"
                )
        return ""

    def _beside(self, path: Path) -> list[Path]:
        """The record of a file, else those in its folder (of trainings, the index) and in the folder above (of the index, for shards)."""
        own = record_of(path)
        return (
            [own]
            if own.is_file()
            else [r for folder in (path.parent, path.parent.parent) for r in self._listed(folder)]
        )

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
                warn("%s; what it is about is used as it is", error)
                self._read[record] = {"products": []}
        products = self._read[record]["products"]
        return {os.path.relpath(p["path"], os.path.dirname(products[0]["path"])): p["digest"] for p in products}
