"""Does a run's index still agree with its data set: labels as listed, images as decoded (no torch)?"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsss.files.errors import ArtefactError
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.text_files import open_text
from wsss.settings.sections import DatasetSection
from wsss.stages.dataset.faults import LISTED, DataError, Faults
from wsss.stages.dataset.image_checks import check_images
from wsss.stages.dataset.source import Description, SourceRow, source_of

Found = tuple[str, str]
"""File, and what was found and expected."""
THEN = "as when the index was made"


def data_faults(run: Path, record: Mapping[str, Any] | None, *, images: bool) -> list[Found]:
    """What no longer agrees between a run's index and its data set.

    Args:
        run: The run's folder.
        record: Provenance record of the index, which names the data set; None if there is none.
        images: Read every image and its masks again.

    Returns:
        Faults; at most 20 of a kind and then a count.
    """
    path = run / "dataset" / "index.csv"
    try:
        index, lines = ImageIndex(path), index_lines(path)
    except ArtefactError as error:
        return [(str(path), str(error).removeprefix(f"{path}: "))]
    found = label_faults(index, record) if record else []
    return found + (_limited(image_faults(index, lines), path) if images else [])


def index_lines(path: Path) -> list[dict[str, str]]:
    """The index's lines, unchecked."""
    with open_text(path) as file:
        return list(csv.DictReader(file))


def label_faults(index: ImageIndex, record: Mapping[str, Any]) -> list[Found]:
    """Labels, splits or classes that changed since the index was made; the order of the listing does not matter.

    Only kinds of data sets whose reading writes nothing are read again. The digests of the others' files are compared
    (`named_files`).

    Args:
        index: The run's index.
        record: Its provenance record.
    """
    try:
        dataset = DatasetSection.model_validate_json(json.dumps(record["settings"]["settings"]["dataset"]))
    except (ValueError, KeyError):
        return [(str(index.path), "found a record whose settings this version does not know, expected one of its own")]
    source = source_of(dataset)
    if source.written:
        return []
    faults = Faults()
    try:
        found = source.read(faults, folder=index.path.parent / dataset.kind, workers=1)
        faults.stop(found.where)
    except DataError as error:
        return [(str(index.path), f"its data set cannot be read any more: {str(error).splitlines()[-1].strip()}")]
    return _compare(index, found)


def _compare(index: ImageIndex, source: Description) -> list[Found]:
    """Classes and rows of the source that differ from the index."""
    out: list[Found] = []
    known = index.class_names[1:]
    if source.names != known:
        expected = f"expected {', '.join(known)}, in this order, {THEN}"
        out.append((source.where, f"found classes {', '.join(source.names)}, {expected}"))
    then = {i: (row.split, frozenset(known[k - 1] for k in row.class_ids)) for i, row in index.rows.items()}
    now = {row.image_id: (row.split, frozenset(row.labels)) for row in source.rows}
    for image_id in sorted(then.keys() | now.keys()):
        if then.get(image_id) != now.get(image_id):
            found, expected = _words(now.get(image_id)), _words(then.get(image_id))
            out.append((source.where, f"image {image_id}: found {found}, expected {expected} {THEN}"))
    return _limited(out, index.path)


def _words(row: tuple[str, frozenset[str]] | None) -> str:
    return "no such row" if row is None else f"{row[0]} {';'.join(sorted(row[1])) or 'without labels'}"


def image_faults(index: ImageIndex, lines: list[dict[str, str]]) -> list[Found]:
    """Images and masks that are missing, broken, or decode to other pixels than when the index was made.

    Args:
        index: The run's index.
        lines: Its lines, for their digests.
    """
    rows = [_source_row(row) for row in index.rows.values()]
    images = check_images(rows, Faults(), num_classes=index.num_classes)
    out: list[Found] = []
    for row, line, checked in zip(rows, lines, images, strict=True):
        if checked.faults:
            texts = [text() if callable(text) else text for _, text in checked.faults]
            out += [(str(row.image), text.removeprefix(": ")) for text in texts]
        elif checked.content != line["content"]:
            found = f"found other pixels{' with its masks' if row.mask else ''} (digest {checked.content})"
            out.append((str(row.image), f"{found}, expected {line['content']} {THEN}"))
    return out


def _source_row(row: ImageRow) -> SourceRow:
    """A row of the index as the data set's reader gives it."""
    return SourceRow(
        where="",
        image_id=row.image_id,
        split=row.split,
        labels=(),
        image=row.image,
        mask=row.mask,
        instances=row.instances,
        context=row.context,
    )


def _limited(found: list[Found], path: Path) -> list[Found]:
    """The first ones, and the number of the others."""
    more = [(str(path), f"and {len(found) - LISTED} more like these")] if len(found) > LISTED else []
    return found[:LISTED] + more
