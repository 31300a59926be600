"""COCO's own ids where a data set keeps them (no torch).

Categories have a column of classes.csv; images have the number that ends their image id.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from wsss.files.errors import ArtefactError
from wsss.files.text_files import open_text

ENDING = re.compile(r"[0-9]+$")
LARGEST = 2**53
"""Largest category id: every reader of JSON holds it exactly."""


def image_number(image_id: str) -> int | None:
    """The number that ends an image id, e.g. 9 of `COCO_train2014_000000000009`; None if there is none."""
    found = ENDING.search(image_id)
    return int(found[0]) if found else None


def read_category_ids(path: Path) -> list[int]:
    """Category ids of the annotation file, by class id, 0 for background.

    Args:
        path: classes.csv. It has the column category_id for COCO only, and only if the image ids end in COCO's numbers.

    Returns:
        C + 1 ids; empty if there is no such column.

    Raises:
        ArtefactError: If the column holds anything else than different numbers.
    """
    with open_text(path) as file:
        reader = csv.DictReader(file)
        if "category_id" not in (reader.fieldnames or ()):
            return []
        cells = [row["category_id"] or "" for row in reader]
    if not all(re.fullmatch("[0-9]{1,16}", cell) for cell in cells) or len(set(cells)) < len(cells):
        found = f"found category_id {', '.join(cells)[:200]}, expected numbers, each once"
        raise ArtefactError(f"{path}: {found}; delete it and rerun index_images")
    return [int(cell) for cell in cells]
