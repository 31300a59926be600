"""Whether a run's files are there and are what their stage wrote, and what killed jobs left (no torch)."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from wsss.files.described_tensors import read_description
from wsss.files.store import MapReader
from wsss.files.temporaries import writer_lives
from wsss.provenance.catalogue import PLACES, Product
from wsss.provenance.records import SUFFIX, find_records
from wsss.provenance.state_checks import AGAIN, Finding, RunState


def check_presence(state: RunState, expected: Mapping[str, Product]) -> None:
    """Products that are missing, and outputs without a record."""
    for output in expected:
        if not (state.folder / output).is_file() and output not in state.records:
            ended = "metrics.csv" in state.records
            state.fault(
                output,
                f"missing, expected a product of {expected[output].stage}",
                state.remade(output) if ended else AGAIN,
            )
    _check_unrecorded(state)


def _check_unrecorded(state: RunState) -> None:
    """Outputs without a record; where no output has one, that is one fault, and their own checksums are all there is."""
    bare = not find_records(state.folder)
    if bare:
        state.fault(
            "",
            f"found no {SUFFIX} beside any product, expected one beside each (made by an earlier version of this package?)",
            AGAIN,
        )
    patterns = [re.compile(pattern) for pattern in PLACES.values()]
    for path in sorted(
        p for p in state.folder.rglob("*") if p.suffix in (".csv", ".h5", ".safetensors", ".json", ".html") and p.is_file()
    ):
        inside = str(path.relative_to(state.folder))
        if (
            inside in state.records
            or Path(str(path) + SUFFIX).is_file()
            or not any(p.fullmatch(inside) for p in patterns)
        ):
            continue
        broken = damage(path)
        if not bare:
            text = f"found no {path.name}{SUFFIX} beside it, expected the record of what made it" + (
                f", and it is {broken}" if broken else ""
            )
            state.fault(inside, text, state.remade(inside))
        elif broken:
            state.fault(inside, f"{broken}, expected a whole file", state.remade(inside))


def check_products(state: RunState) -> None:
    """Products that are not what their stage wrote."""
    holders = {p["digest"]: p["path"] for r in state.records.values() for p in r["products"]}
    for output, record in state.records.items():
        for product in record["products"]:
            path, found = product["path"], state.digests.get(product["path"])
            if found is None:
                state.fault(
                    path, f"missing, expected as {record['stage']} wrote it on {record['made']}", state.remade(output)
                )
            elif found != product["digest"]:
                other = holders.get(found)
                why = (
                    f"what {other} should hold"
                    if other
                    else damage(state.folder / path) or "whole, but not what was written"
                )
                state.fault(
                    path,
                    f"found digest {found[:12]} ({why}), expected {product['digest'][:12]} as {record['stage']} wrote it",
                    state.remade(output),
                )


def damage(path: Path) -> str:
    """What is wrong with a file by its own checksums; "" if nothing is, or if it has none."""
    try:
        if path.suffix == ".h5":
            with MapReader(path) as reader:
                for image_id in reader.image_ids:
                    reader.read(image_id)
        elif path.suffix == ".safetensors":
            read_description(path.read_bytes())
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        reason = str(error).removeprefix(f"{path}: ").split("; ")[0]
        return f"damaged: {reason}"
    return ""


def check_leftovers(state: RunState, expected: Mapping[str, Product]) -> None:
    """Resume files, what killed writers left (not what a process of this machine is writing), and products of another configuration."""
    for path in sorted(p for p in state.folder.rglob(".resume/*") if ".tmp-" not in p.name):
        text, mend = _resume(path)
        state.fault(str(path.relative_to(state.folder)), f"found {text}, expected none", mend)
    for path in sorted(state.folder.rglob(".*.tmp-*")):
        if not writer_lives(path):
            state.fault(
                str(path.relative_to(state.folder)),
                "found what a killed writer left, expected none",
                f"rm {shlex.quote(str(path))}",
            )
    if other := [o for o in state.records if expected and o not in expected]:
        text = (
            f"no product of this configuration, nor are {len(other) - 1} more"
            if len(other) > 1
            else "no product of this configuration"
        )
        state.findings.append(
            Finding(file=str(state.folder / other[0]), text=f"{text} (earlier rounds, methods or shards)", warning=True)
        )


def _resume(path: Path) -> tuple[str, str]:
    """What a file under .resume/ is, and the command that ends its being there."""
    product = path.parent.parent / path.name
    remove = f"rm {shlex.quote(str(path))}"
    if product.is_file():
        return "a resume file of a training that is done", remove
    return f"a training that did not end: no {product.name}", AGAIN
