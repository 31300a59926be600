"""Provenance records as files: where they are, how they are read, and what differs among them (no torch).

`wsss/provenance/records.py` writes them and says what they hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsss.files.errors import ArtefactError
from wsss.files.text_files import read_json

FORMAT = 1
SUFFIX = ".provenance.json"
COMPUTED = ("device", "processor", "threads", "precision")
"""Keys that are compared among the stages that compute with torch."""


def record_of(product: Path) -> Path:
    """Where the record of a stage's output is."""
    return product.with_name(product.name + SUFFIX)


def read_record(path: Path) -> dict[str, Any]:
    """Read one record, without its digest.

    Raises:
        ArtefactError: If it is missing, is no record, has another format, or was changed after its stage wrote it.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ArtefactError(f"{path}: found format {found}, expected {FORMAT}")
    if content.pop("digest", None) != own_digest(content):
        raise ArtefactError(f"{path}: found a record that was changed, expected it as its stage wrote it")
    return content


def own_digest(content: Mapping[str, Any]) -> str:
    """Digest of a record without its `digest`: BLAKE2b, 128 bits as hexadecimal digits."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def find_records(run: Path) -> list[Path]:
    """Every record under a run's folder, by path."""
    return sorted(run.rglob(f"*{SUFFIX}"))


def mixtures(records: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """Find what differs among the records of a run although one run should have one of it.

    Args:
        records: Output (or any other name for it) to its record.

    Returns:
        Thing ("torch", "device") to value to the outputs made so, in the order of `records`.
        Things with a single value are left out.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for name, record in records.items():
        for what, value in _comparable(record).items():
            found.setdefault(what, {}).setdefault(str(value), []).append(name)
    return {what: values for what, values in found.items() if len(values) > 1}


def _comparable(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the records of one run should agree in."""
    kind = record["settings"].get("settings", {}).get("kind", "")
    code = f"code of {record['stage']} {kind}".rstrip()
    computed = COMPUTED if "compute" in record["settings"] else ()
    return {
        "wsss": record["wsss"],
        "python": record["python"],
        **record["libraries"],
        code: record["code"],
        **{key: str(record[key]) for key in computed},
    }


def stale_inputs(records: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Find products that were made from an earlier state of another product. The records alone are compared.

    Args:
        records: Output to its record.

    Returns:
        (output, input) pairs.
    """
    state = {product["path"]: product["digest"] for record in records.values() for product in record["products"]}
    stale = [
        (name, entry["path"])
        for name, record in records.items()
        for entries in record["inputs"].values()
        for entry in entries
        if state.get(entry["path"], entry["digest"]) != entry["digest"]
    ]
    return list(dict.fromkeys(stale))
