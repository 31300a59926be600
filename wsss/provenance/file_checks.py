"""Are a run's files there, are they what their stage wrote, and what did killed jobs leave (no torch)?"""

from __future__ import annotations

import json
import re
import shlex
import zipfile
from collections.abc import Mapping
from pathlib import Path

from wsss.files.store import MapReader
from wsss.files.temporaries import writer_lives
from wsss.provenance.catalogue import PLACES, Product
from wsss.provenance.records import SUFFIX, find_records, record_of
from wsss.provenance.run_state import AGAIN, Finding, RunState

SUFFIXES = (".csv", ".h5", ".pt", ".json", ".html")
"""Endings of what rules have as output."""


def check_presence(state: RunState, expected: Mapping[str, Product]) -> None:
    """Report missing products and outputs without a record."""
    for output in expected:
        if not (state.folder / output).is_file() and output not in state.records:
            ended = "metrics.csv" in state.records
            text = f"missing, expected a product of {expected[output].stage}"
            state.fault(output, text, state.remade(output) if ended else AGAIN)
    _check_unrecorded(state)


def _check_unrecorded(state: RunState) -> None:
    """Report outputs without a record. If the run has no record at all, that is one fault, and checksums decide."""
    bare = not find_records(state.folder)
    if bare:
        expected = "expected one beside each (made by an earlier version of this package?)"
        state.fault("", f"found no {SUFFIX} beside any product, {expected}", AGAIN)
    patterns = [re.compile(pattern) for pattern in PLACES.values()]
    files = (p for p in state.folder.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    for path in sorted(files):
        inside = str(path.relative_to(state.folder))
        recorded = inside in state.records or record_of(path).is_file()
        if recorded or not any(p.fullmatch(inside) for p in patterns):
            continue
        broken = damage(path)
        if not bare:
            text = f"found no {path.name}{SUFFIX} beside it, expected the record of what made it"
            state.fault(inside, text + (f", and it is {broken}" if broken else ""), state.remade(inside))
        elif broken:
            state.fault(inside, f"{broken}, expected a whole file", state.remade(inside))


def check_products(state: RunState) -> None:
    """Report products that are not what their stage wrote."""
    holders = {p["digest"]: p["path"] for r in state.records.values() for p in r["products"]}
    for output, record in state.records.items():
        for product in record["products"]:
            path, found = product["path"], state.digests.get(product["path"])
            written = f"as {record['stage']} wrote it"
            if found is None:
                state.fault(path, f"missing, expected {written} on {record['made']}", state.remade(output))
            elif found != product["digest"]:
                other = holders.get(found)
                own = damage(state.folder / path) or "whole, but not what was written"
                why = f"what {other} should hold" if other else own
                text = f"found digest {found[:12]} ({why}), expected {product['digest'][:12]} {written}"
                state.fault(path, text, state.remade(output))


def damage(path: Path) -> str:
    """What is wrong with a file by its own checksums; "" if nothing is wrong or it has none."""
    try:
        if path.suffix == ".h5":
            with MapReader(path) as reader:
                for image_id in reader.image_ids:
                    reader.read(image_id)
        elif path.suffix == ".pt":
            with zipfile.ZipFile(path) as archive:
                if member := archive.testzip():
                    return f"damaged: flipped bits in {member}"
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        reason = str(error).removeprefix(f"{path}: ").split("; ")[0]
        return f"damaged: {reason}"
    return ""


def check_leftovers(state: RunState, expected: Mapping[str, Product]) -> None:
    """Report resume files, what killed processes left, and products of another configuration."""
    for path in sorted(p for p in state.folder.rglob(".resume/*") if ".tmp-" not in p.name):
        text, remedy = _resume(path)
        state.fault(str(path.relative_to(state.folder)), f"found {text}, expected none", remedy)
    for path in sorted(state.folder.rglob(".*.tmp-*")):
        if not writer_lives(path):
            inside = str(path.relative_to(state.folder))
            state.fault(inside, "found what a killed process left, expected none", f"rm {shlex.quote(str(path))}")
    if other := [o for o in state.records if expected and o not in expected]:
        more = f", nor are {len(other) - 1} more" if len(other) > 1 else ""
        text = f"no product of this configuration{more} (earlier rounds, methods or shards)"
        state.findings.append(Finding(file=str(state.folder / other[0]), text=text, warning=True))


def _resume(path: Path) -> tuple[str, str]:
    """What a file under .resume/ is, and the command that removes it."""
    product = path.parent.parent / path.name
    remove = f"rm {shlex.quote(str(path))}"
    if product.is_file():
        return "a resume file of a training that is done", remove
    return f"a training that did not end: no {product.name}", AGAIN
