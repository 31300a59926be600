"""Stage index_images: read a data set's description, check all of it, write the index that every other stage reads."""

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
from wsss.settings.sections import DatasetSection, ShardsSection
from wsss.settings.stage_settings import IndexSettings
from wsss.stages.dataset import scenes
from wsss.stages.dataset.checks import CheckedImage, Faults, SourceRow, check_images, check_rows
from wsss.stages.dataset.coco import read_coco
from wsss.stages.dataset.names import check_names
from wsss.stages.dataset.sources import SPLITS, Source, read_folder, read_voc


def index_images(*, settings: IndexSettings, output: Path, workers: int = 1) -> None:
    """Check the whole data set and write its index.

    Beside the index: classes.csv, statistics.json (mean colour of the training images) and shards/SPLIT-N.csv. The index is written last.
    The embedded scenes are drawn into scenes/ beside it first, COCO's truth masks into coco/.

    Args:
        settings: The data set and the number of shards.
        output: index.csv.
        workers: Processes that draw COCO's truth masks.

    Raises:
        DataError: If anything is wrong with the data set; lists every fault, and nothing was written.
    """
    faults = Faults()
    try:
        source = _read_source(settings.dataset, faults, folder=output.parent, workers=workers)
        check_rows(source.rows, source.names, faults, where=source.where)
        checked = check_images(source.rows, faults, num_classes=len(source.names))
        faults.stop(source.where)
    except BaseException:
        shutil.rmtree(
            output.parent / "coco", ignore_errors=True
        )  # truth that was drawn before something turned out to be broken
        raise
    pairs = sorted(zip(source.rows, checked, strict=True), key=lambda pair: (pair[0].split, pair[0].image_id))
    folder = output.parent
    _write_classes(source, folder / "classes.csv")
    write_json(folder / "statistics.json", statistics(pairs, source.names))
    _write_shards([row for row, _ in pairs], settings.shards, folder=folder / "shards")
    write_csv(output, INDEX_COLUMNS, [_index_line(row, checked, source.names, folder=folder) for row, checked in pairs])
    log.info(
        "%s: %d training and %d validation images of %d classes",
        source.where,
        *(sum(r.split == s for r in source.rows) for s in SPLITS),
        len(source.names),
    )


def statistics(pairs: list[tuple[SourceRow, CheckedImage]], names: list[str]) -> dict[str, Any]:
    """Figures of the data set.

    Args:
        pairs: All images with what their check found.
        names: Foreground classes.

    Returns:
        mean_rgb: mean over all pixels of the training images, [0, 255]; sums are of integers, so the order does not matter.
        images, train, val, measured: numbers of images; class_images: training images by class.
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


def _read_source(settings: DatasetSection, faults: Faults, *, folder: Path, workers: int) -> Source:
    if settings.kind == "voc":
        return read_voc(settings.voc, faults)
    if settings.kind == "folder":
        return read_folder(settings.folder, faults)
    if settings.kind == "coco":
        return read_coco(settings.coco, faults, folder=folder / "coco", workers=workers)
    names = scenes.class_names()
    check_names(names, faults, where="scenes")
    drawn = scenes.draw_scenes(folder / "scenes", settings=settings.scenes)
    return Source(where="scenes", names=names, rows=[_scene_row(scene, folder=folder / "scenes") for scene in drawn])


def _write_classes(source: Source, path: Path) -> None:
    classes: list[dict[str, Any]] = [{"class_id": k, "name": n} for k, n in enumerate(["background", *source.names])]
    if source.category_ids:
        classes = [{**line, "category_id": k} for line, k in zip(classes, (0, *source.category_ids), strict=True)]
    write_csv(path, tuple(classes[0]), classes)


def _scene_row(scene: dict[str, Any], *, folder: Path) -> SourceRow:
    paths = {key: folder / scene[key] for key in ("image", "mask", "instances", "context")}
    return SourceRow(
        where=f"scene {scene['image_id']}",
        image_id=scene["image_id"],
        split=scene["split"],
        labels=tuple(scene["labels"]),
        measured=True,
        **paths,
    )


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
        "image_id": row.image_id, "split": row.split, "measured": int(row.measured), "height": checked.size[0], "width": checked.size[1],
        "labels": ";".join(sorted(row.labels, key=names.index)), "image": place(row.image), "mask": place(row.mask),
        "instances": place(row.instances), "context": place(row.context),
        "content": checked.content,
    }  # fmt: skip
