"""What is checked of a data set's rows before any image is opened (no torch)."""

from __future__ import annotations

from functools import partial

from wsss.files.limits import MOST_IMAGES, id_fault
from wsss.files.mask_values import MOST_CLASSES
from wsss.runtime.console import warn
from wsss.stages.dataset.faults import Faults
from wsss.stages.dataset.names import did_you_mean
from wsss.stages.dataset.source import SourceRow


def check_rows(rows: list[SourceRow], names: list[str], faults: Faults, *, where: str) -> None:
    """Check ids, splits and labels.

    Args:
        rows: All images.
        names: Foreground classes.
        faults: Receives what is wrong.
        where: What was read, for messages about the whole.
    """
    if not any(row.split == "train" for row in rows):
        faults.add("split", f"{where}: no training image; at least one is needed")
    if len(rows) > MOST_IMAGES:
        faults.add("image", f"{where}: {len(rows):,} images, at most {MOST_IMAGES:,} are read")
    first: dict[str, SourceRow] = {}
    for row in rows:
        if wrong := id_fault(row.image_id):
            faults.add("id", f"{row.where}: {wrong}")
        _check_repeated(row, first.setdefault(row.image_id, row), faults)
    _check_labels(rows, names, faults)
    if len(names) <= MOST_CLASSES:  # more is a fault already
        _warn_of_classes(rows, names, where=where)


def _check_repeated(row: SourceRow, earlier: SourceRow, faults: Faults) -> None:
    """`earlier` is the first row with the image id: the row itself, or another one."""
    if earlier.split != row.split:
        splits = f"{row.split} and in {earlier.split} ({earlier.where})"
        faults.add("overlap", f"{row.where}: image {row.image_id!r} is in {splits}; the splits must not overlap")
    elif earlier is not row:
        before = f"{earlier.where}: {earlier.image.name}"
        faults.add(
            "duplicate", f"{row.where}: image id {row.image_id!r} occurs before ({before}); keep one or rename a file"
        )


def _check_labels(rows: list[SourceRow], names: list[str], faults: Faults) -> None:
    known = set(names)
    for row in rows:
        for name in row.labels:
            if name not in known:
                faults.add("label", partial(_unknown, row, name, names))
        if not row.labels and row.split == "train":
            advice = "name at least one class or leave the image out"
            faults.add("no labels", f"{row.where}: image {row.image_id!r} has no labels; {advice}")


def _unknown(row: SourceRow, name: str, names: list[str]) -> str:
    return f"{row.where}: class {name!r} is not in the dataset's {len(names)} classes{did_you_mean(name, names)}"


def _warn_of_classes(rows: list[SourceRow], names: list[str], *, where: str) -> None:
    """Warn of validation images without labels, and of classes that no or every training image has."""
    training = [row for row in rows if row.split == "train"]
    empty = [row.image_id for row in rows if not row.labels and row.split == "val"]
    if empty:
        warn("%s: %d validation images have no labels, e.g. %s", where, len(empty), empty[0])
    trained = {name for row in training for name in row.labels}
    if missing := [name for name in names if name not in trained]:
        warn("%s: no training image for %s; these classes cannot be learnt", where, ", ".join(missing))
    if everywhere := [name for name in names if training and all(name in row.labels for row in training)]:
        warn(
            "%s: every training image has %s: a classifier cannot tell it from the background; "
            "add images without it, or more classes",
            where,
            ", ".join(everywhere),
        )
