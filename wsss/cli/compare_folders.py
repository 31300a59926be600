"""`wsss evaluate`: two folders of PNG masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wsss.files.atomic import atomic
from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_mask
from wsss.files.index import read_classes
from wsss.files.mask_values import IGNORE
from wsss.files.text_files import open_text
from wsss.runtime.console import progress
from wsss.stages.evaluate.confusion import confusion, figures

LISTED = 20
"""Faults that a message names one by one."""
LARGEST = IGNORE - 1
"""Largest class id of a mask."""


def compare_folders(*, predictions: Path, truth: Path, classes: Path | None = None, output: Path | None = None) -> str:
    """Give IoU, precision and recall of each class, and their means over the classes that occur in the truth.

    Args:
        predictions: Folder of masks NAME.png; 255 counts as wrong. Masks that the truth folder lacks are not read.
        truth: Folder of truth masks; pixels of 255 are left out. Every truth mask needs a prediction.
        classes: classes.csv, or a text file of names, background first. Without it classes are numbered.
        output: CSV to write the table to; empty where a class does not occur in the truth.

    Returns:
        The table as text.

    Raises:
        ArtefactError: If folders or masks are missing, sizes differ, or masks hold ids that have no name.
            A message lists up to 20 masks.
    """
    names = _mask_names(predictions=predictions, truth=truth)
    labels = _class_names(classes) if classes else []
    pairs = _count(names, predictions=predictions, truth=truth)
    if not pairs.any():
        raise ArtefactError(
            f"{truth}: every pixel of its {len(names)} masks is {IGNORE} (ignored): there is nothing to compare with"
        )
    used = np.flatnonzero(pairs.any(1) | pairs[:, :IGNORE].any(0))
    largest = int(used.max(initial=0))
    if labels and largest >= len(labels):
        raise ArtefactError(
            f"the masks hold class id {largest}, but {classes} names {len(labels)} classes (0..{len(labels) - 1}); "
            "name them all or leave --classes out"
        )
    labels = labels or [str(k) for k in range(largest + 1)]
    count = len(labels)
    f: dict[str, Any] = figures(np.concatenate([pairs[:count, :count], pairs[:count, IGNORE:]], axis=1))
    table = pd.DataFrame({m: f[m] for m in ("iou", "precision", "recall")}, index=pd.Index(labels, name="class"))
    means = pd.DataFrame([[f["miou"], f["mean_precision"], f["mean_recall"]]], index=["mean"], columns=table.columns)
    table = pd.concat([table, means]).rename_axis("class")
    if output:
        with atomic(output) as temporary:
            table.to_csv(temporary, lineterminator="\n", encoding="utf-8")
    covered = "" if f["coverage"] == 1 else f", coverage {f['coverage']:.4f}"
    return f"{len(names)} masks, pixel accuracy {f['pixel_accuracy']:.4f}{covered}\n{_text(table)}"


def _mask_names(*, predictions: Path, truth: Path) -> list[str]:
    """File names of the truth masks, each with a prediction."""
    for folder in (predictions, truth):
        if not folder.is_dir():
            raise ArtefactError(f"{folder}: no such folder")
    names = sorted(p.name for p in truth.glob("*.png"))
    if not names:
        raise ArtefactError(f"{truth}: no PNG masks; expected a folder of palette or grey 8-bit PNG files")
    if missing := [n for n in names if not (predictions / n).is_file()]:
        raise ArtefactError(
            f"{predictions}: {len(missing)} of {len(names)} masks are missing: {_listed(missing)}; "
            f"every mask in {truth} needs one of the same name"
        )
    return names


def _count(names: list[str], *, predictions: Path, truth: Path) -> np.ndarray:
    """(255, 256) int64 counts over all masks, rows truth, the last column 255."""
    pairs = np.zeros((LARGEST + 1, LARGEST + 2), np.int64)
    faults = []
    for name in progress(names, what="masks"):
        true, guess = read_mask(truth / name), read_mask(predictions / name)
        if true.shape == guess.shape:
            pairs += confusion(true, guess, num_classes=LARGEST)
        else:
            faults.append(f"{name} {guess.shape}, truth {true.shape}")
    if faults:
        raise ArtefactError(
            f"{predictions}: {len(faults)} of {len(names)} masks have another (height, width) than their truth: "
            f"{_listed(faults)}"
        )
    return pairs


def _text(table: pd.DataFrame) -> str:
    """The table in aligned columns, "-" where there is no number."""
    table = table.rename_axis(index=None, columns="class")  # the heading of the names, in the line of the others
    return table.to_string(float_format="%.4f", na_rep="-", col_space=dict.fromkeys(table.columns, 10))


def _listed(faults: list[str]) -> str:
    more = f" and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
    return ", ".join(faults[:LISTED]) + more


def _class_names(path: Path) -> list[str]:
    """Names by id from classes.csv or a text file, background first."""
    if path.suffix == ".csv":
        names = read_classes(path)
    else:
        with open_text(path) as file:
            names = [line.strip() for line in file if line.strip()]
    if names and names[0].casefold() != "background":
        raise ArtefactError(
            f"{path}: the first name is {names[0]!r}, expected 'background': names are those of ids 0, 1, 2, ..."
        )
    return names
