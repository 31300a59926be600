"""Stage index_images: read a data set's description, check it whole, write the index that other stages read."""

from __future__ import annotations

import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from wsss.files.index import INDEX_COLUMNS
from wsss.files.text_files import write_csv, write_json
from wsss.runtime.console import log
from wsss.settings.sections import ShardsSection
from wsss.settings.stage_settings import IndexSettings
from wsss.stages.dataset.faults import Faults
from wsss.stages.dataset.image_checks import CheckedImage, check_images
from wsss.stages.dataset.row_checks import check_rows
from wsss.stages.dataset.source import SPLITS, Description, SourceRow, source_of


def index_images(*, settings: IndexSettings, output: Path, workers: int = 1) -> None:
    """Check the whole data set and write its index.

    Beside the index: classes.csv, statistics.json (mean colour of the training images) and shards/SPLIT-N.csv. The
    index is written last. A kind that draws images or truth draws them into a folder beside it, named as the kind.

    Args:
        settings: The data set and the number of shards.
        output: index.csv.
        workers: Processes that draw COCO's truth masks.

    Raises:
        DataError: If anything is wrong with the data set. The message lists every fault; nothing was written.
    """
    folder, faults = output.parent, Faults()
    drawn = folder / settings.dataset.kind
    was_there = drawn.exists()  # then it may be the user's own, if the stage is run by hand
    try:
        found = source_of(settings.dataset).read(faults, folder=drawn, workers=workers)
        check_rows(found.rows, found.names, faults, where=found.where)
        checked = check_images(found.rows, faults, num_classes=len(found.names))
        faults.stop(found.where)
    except BaseException:
        if not was_there:
            shutil.rmtree(drawn, ignore_errors=True)
        raise
    pairs = sorted(zip(found.rows, checked, strict=True), key=lambda pair: (pair[0].split, pair[0].image_id))
    _write_classes(found, folder / "classes.csv")
    write_json(folder / "statistics.json", statistics(pairs, found.names))
    _write_shards([row for row, _ in pairs], settings.shards, folder=folder / "shards")
    write_csv(output, INDEX_COLUMNS, [_index_line(row, checked, found.names, folder=folder) for row, checked in pairs])
    counts = [sum(row.split == split for row in found.rows) for split in SPLITS]
    log.info(
        "%s: %d training and %d validation images of %d classes", found.where, counts[0], counts[1], len(found.names)
    )


def statistics(pairs: list[tuple[SourceRow, CheckedImage]], names: list[str]) -> dict[str, Any]:
    """Figures of the data set.

    Args:
        pairs: All images with what their check found.
        names: Foreground classes.

    Returns:
        mean_rgb: Mean over all pixels of the training images, [0, 255]. Sums are of integers, so the order does not
            matter.
        images, train, val, measured: Numbers of images.
        class_images: Training images by class.
    """
    train = [(row, checked) for row, checked in pairs if row.split == "train"]
    total = np.stack([checked.sum_rgb for _, checked in train]).sum(axis=0)
    pixels = sum(checked.size[0] * checked.size[1] for _, checked in train)
    return {
        "mean_rgb": [round(float(v) / pixels, 4) for v in total],
        "images": len(pairs),
        "train": len(train),
        "val": len(pairs) - len(train),
        "measured": sum(row.measured for row, _ in pairs),
        "class_images": {name: sum(name in row.labels for row, _ in train) for name in names},
    }


def split_blocks(ids: list[str], count: int) -> list[list[str]]:
    """`ids` in `count` contiguous blocks whose sizes differ by at most one; later ones may be empty."""
    size, rest = divmod(len(ids), count)
    starts = [k * size + min(k, rest) for k in range(count + 1)]
    return [ids[a:b] for a, b in pairwise(starts)]


def _write_classes(found: Description, path: Path) -> None:
    classes: list[dict[str, Any]] = [{"class_id": k, "name": n} for k, n in enumerate(["background", *found.names])]
    if found.category_ids:
        classes = [{**line, "category_id": k} for line, k in zip(classes, (0, *found.category_ids), strict=True)]
    write_csv(path, tuple(classes[0]), classes)


def _write_shards(rows: list[SourceRow], settings: ShardsSection, *, folder: Path) -> None:
    names = set()
    for split, count in (("train", settings.train), ("val", settings.val)):
        for n, ids in enumerate(split_blocks([row.image_id for row in rows if row.split == split], count)):
            names.add(f"{split}-{n}.csv")
            write_csv(folder / f"{split}-{n}.csv", ("image_id",), [{"image_id": i} for i in ids])
    for path in folder.glob("*.csv"):
        if path.name not in names:
            path.unlink()


def _index_line(row: SourceRow, checked: CheckedImage, names: list[str], *, folder: Path) -> dict[str, Any]:
    def place(path: Path | None) -> str:
        if path is None:
            return ""
        absolute, base = os.path.abspath(path), os.path.abspath(folder)
        return os.path.relpath(absolute, base) if Path(absolute).is_relative_to(base) else absolute

    return {
        "image_id": row.image_id,
        "split": row.split,
        "measured": int(row.measured),
        "height": checked.size[0],
        "width": checked.size[1],
        "labels": ";".join(sorted(row.labels, key=names.index)),
        "image": place(row.image),
        "mask": place(row.mask),
        "instances": place(row.instances),
        "context": place(row.context),
        "content": checked.content,
    }
