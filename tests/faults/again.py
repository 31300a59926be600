"""A stage of a finished run once more: its command, from the provenance record of what it made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from wsss.__main__ import main
from wsss.provenance.records import PRODUCTS, READ_BESIDE, SUFFIX, find_records, read_record, record_of


def words_of(
    run: Path,
    product: str,
    *,
    output: Path,
    inputs: Mapping[Path, Path] | None = None,
    log: Path | None = None,
    **settings: Any,
) -> list[str]:
    """The command line of the stage that made a product.

    Args:
        run: Folder of the finished run; paths in its records are relative to the folder two above.
        product: Of the stage, relative to `run`.
        output: Where it is to write this time; further products go beside it.
        inputs: Files to read in the place of the recorded ones.
        log: Its log file; absent: stderr.
        **settings: Laid over the recorded ones, e.g. settings={"seed": 1}.
    """
    record, here = read_record(record_of(run / product)), run.parent.parent
    words = [record["stage"]]
    for name, entries in record["inputs"].items():
        if name != "settings":
            paths = [here / e["path"] for e in entries if Path(e["path"]).name not in READ_BESIDE.get(name, ())]
            words += [f"--{name}", *(str((inputs or {}).get(p, p)) for p in paths)]
    for name, values in record["settings"].items():
        words += [f"--{name}", json.dumps(merged(values, settings.get(name, {})))]
    for name, entry in zip(PRODUCTS.get(record["stage"], ("output",)), record["products"], strict=False):
        words += [f"--{name}", str(output if name == "output" else output.with_name(Path(entry["path"]).name))]
    more = ["--workers", "1"] if record["stage"] in ("refine_masks", "estimate_saliency") else []
    return words + more + (["--log", str(log)] if log else [])


def merged(values: Any, over: Any) -> Any:
    """Mappings merged deeply."""
    if not isinstance(values, Mapping) or not isinstance(over, Mapping):
        return over
    return {**values, **{k: merged(values[k], v) if k in values else v for k, v in over.items()}}


def call(words: list[str]) -> Result:
    """In this process."""
    return CliRunner().invoke(main, words)


def run_apart(words: list[str], *, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """In a process of its own, so that how it ends is seen as well."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "wsss", *words], cwd=folder, capture_output=True, text=True, check=False
    )


def only_error(text: str) -> str:
    """The one line that a failed command says; logs on stderr and warnings aside."""
    assert "Traceback" not in text, text
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, text
    return lines[0]


def linked(run: Path, folder: Path, *, records: bool = True) -> Path:
    """A copy of results/RUN by hard links in FOLDER/results/RUN: files are to be replaced, never changed in place."""
    copy = folder / "results" / run.name
    shutil.copytree(run, copy, copy_function=os.link, ignore=None if records else shutil.ignore_patterns(f"*{SUFFIX}"))
    return copy


def put(path: Path, content: bytes) -> None:
    """Replace a file; its other hard links keep the old content."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its path from there."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def products(run: Path) -> dict[str, bytes]:
    """Every file of a run that its records name as a product."""
    here = run.parent.parent
    return {
        e["path"]: (here / e["path"]).read_bytes() for path in find_records(run) for e in read_record(path)["products"]
    }
