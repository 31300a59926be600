"""`wsss evaluate`: two folders of PNG masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_mask
from wsss.files.index import read_classes
from wsss.files.mask_values import IGNORE
from wsss.files.text_files import open_text, write_csv
from wsss.runtime.console import progress
from wsss.stages.evaluate.confusion import confusion, figures

LISTED = 20
"""Faults named one by one in a message."""
LARGEST = IGNORE - 1
"""Largest class id of a mask."""
COLUMNS = ("class", "iou", "precision", "recall")


def compare_folders(*, predictions: Path, truth: Path, classes: Path | None = None, output: Path | None = None) -> str:
    """IoU, precision and recall per class, and their means over the classes that occur in the truth.

    Args:
        predictions: Folder of masks NAME.png; 255 counts as wrong. Masks that the truth folder lacks are not read.
        truth: Folder of truth masks; its 255 is left out. Every truth mask needs a prediction.
        classes: classes.csv, or a text file of names, background first; without it classes are numbered.
        output: CSV to write the table to; empty where a class does not occur in the truth.

    Returns:
        The table as text.

    Raises:
        ArtefactError: If folders or masks are missing, sizes differ (each listed, up to 20), or masks hold ids that have no name.
    """
    for folder in (predictions, truth):
        if not folder.is_dir():
            raise ArtefactError(f"{folder}: no such folder")
    names = sorted(p.name for p in truth.glob("*.png"))
    if not names:
        raise ArtefactError(f"{truth}: no PNG masks; expected a folder of palette or grey 8-bit PNG files")
    if missing := [n for n in names if not (predictions / n).is_file()]:
        raise ArtefactError(
            f"{predictions}: {len(missing)} of {len(names)} masks are missing: {_listed(missing)}; every mask in {truth} needs one of the same name"
        )
    labels = _names(classes) if classes else []
    if labels and labels[0].casefold() != "background":
        raise ArtefactError(
            f"{classes}: the first name is {labels[0]!r}, expected 'background': names are those of ids 0, 1, 2, ..."
        )
    pairs = _count(names, predictions=predictions, truth=truth)
    if not pairs.any():
        raise ArtefactError(
            f"{truth}: every pixel of its {len(names)} masks is {IGNORE} (ignored): there is nothing to compare with"
        )
    used = np.flatnonzero(pairs.any(1) | pairs[:, :IGNORE].any(0))
    if labels and used.size and used[-1] >= len(labels):
        raise ArtefactError(
            f"the masks hold class id {used[-1]}, but {classes} names {len(labels)} classes (0..{len(labels) - 1}); name them all or leave --classes out"
        )
    count = len(labels) or int(used.max(initial=0)) + 1
    f: dict[str, Any] = figures(np.concatenate([pairs[:count, :count], pairs[:count, IGNORE:]], axis=1))
    table = [[labels[k] if labels else str(k), *(f[m][k] for m in COLUMNS[1:])] for k in range(count)]
    table.append(["mean", f["miou"], f["mean_precision"], f["mean_recall"]])
    if output:
        write_csv(
            output, COLUMNS, [{c: "" if v != v else v for c, v in zip(COLUMNS, line, strict=True)} for line in table]
        )
    covered = "" if f["coverage"] == 1 else f", coverage {f['coverage']:.4f}"
    return f"{len(names)} masks, pixel accuracy {f['pixel_accuracy']:.4f}{covered}\n{_text(table)}"


def _count(names: list[str], *, predictions: Path, truth: Path) -> np.ndarray:
    """(255, 256) int64 counts over all masks, rows truth, the last column 255."""
    pairs = np.zeros((LARGEST + 1, LARGEST + 2), np.int64)
    faults = []
    for name in progress(names, what="masks"):
        a, b = read_mask(truth / name), read_mask(predictions / name)
        if a.shape == b.shape:
            pairs += confusion(a, b, num_classes=LARGEST)
        else:
            faults.append(f"{name} {b.shape}, truth {a.shape}")
    if faults:
        raise ArtefactError(
            f"{predictions}: {len(faults)} of {len(names)} masks have another (height, width) than their truth: {_listed(faults)}"
        )
    return pairs


def _text(table: list[list[Any]]) -> str:
    """The table in aligned columns; "-" where there is no number."""
    cells = [list(COLUMNS), *([line[0], *("-" if v != v else f"{v:.4f}" for v in line[1:])] for line in table)]
    width = max(len(line[0]) for line in cells)
    return "\n".join(line[0].ljust(width) + "".join(c.rjust(11) for c in line[1:]) for line in cells)


def _listed(faults: list[str]) -> str:
    more = f" and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
    return ", ".join(faults[:LISTED]) + more


def _names(path: Path) -> list[str]:
    if path.suffix == ".csv":
        return read_classes(path)
    with open_text(path) as file:
        return [line.strip() for line in file if line.strip()]
