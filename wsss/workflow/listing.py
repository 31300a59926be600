"""What stages depend on beside the files of a run: tables of labels and folders of given maps, for rules (no torch)."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

from pydantic import BaseModel

from wsss.files.limits import MOST_TABLE_BYTES, regular
from wsss.settings.kinds import PROPOSALS, saliency_kinds
from wsss.settings.stage_settings import ProposalSettings, SaliencySettings
from wsss.workflow.digests import listing_digest


def rows_digest(path: Path, *, header: bool) -> str:
    """Digest of a table's rows in any order; of its size and time if it cannot be read.

    Args:
        path: A CSV, or a list.
        header: Whether its first row is a header, which stays first.

    Returns:
        16 hexadecimal digits.
    """
    try:
        regular(path, most=MOST_TABLE_BYTES)
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in cells] for cells in csv.reader(file, strict=True) if cells]
    except (OSError, ValueError, csv.Error):
        return listing_digest(path)
    return hashlib.blake2b(json.dumps([*rows[:header], *sorted(rows[header:])]).encode(), digest_size=8).hexdigest()


def given_folder(settings: BaseModel) -> Path | None:
    """The folder of given saliency maps or proposals that a stage reads; None if it makes them itself."""
    if isinstance(settings, SaliencySettings):
        key = saliency_kinds()[settings.saliency.kind].folder
        own = settings.saliency.own
        found = own.get(key) if isinstance(own, dict) else getattr(own, key, None)
        return Path(str(found)) if key and found is not None else None
    if isinstance(settings, ProposalSettings) and (key := PROPOSALS[settings.proposals.kind].folder):
        return Path(getattr(settings.proposals.own, key))
    return None
