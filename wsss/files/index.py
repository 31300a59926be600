"""The data set as stages see it: its index, its classes and its shards (no torch).

dataset/index.csv    image_id,split,measured,height,width,labels,image,mask,instances,context,content
                     measured: 1 where truth masks of this image count in the train figures
                     labels: class names joined by ";"
                     image, mask, instances, context: paths, absolute or relative to the index's folder; empty: none
                     content: digest of the decoded image and its masks: a replaced file changes the index
dataset/classes.csv  class_id,name (0 is background); for COCO also category_id (wsss/files/coco_ids.py)
dataset/statistics.json  mean_rgb: mean colour of the training images, [0, 255]
dataset/shards/{split}-{n}.csv  image_id
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.limits import MOST_PIXELS, id_fault
from wsss.files.text_files import open_text, read_json

SPLITS = ("train", "val")
INDEX_COLUMNS = (
    *("image_id", "split", "measured", "height", "width", "labels"),
    *("image", "mask", "instances", "context", "content"),
)


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """One image of the index.

    Attributes:
        image_id: Stable key.
        split: "train" or "val".
        measured: Whether its truth counts in measurements.
        height: Height in px, after EXIF rotation.
        width: Width in px.
        labels: (C,) uint8, 1 for each foreground class that the image shows.
        image: The image.
        mask: Truth mask, palette PNG (evaluation only).
        instances: Instance mask: 0 background, k = instance k (evaluation, and proposals of kind truth, only).
        context: Mask of the co-occurring background (evaluation only).
    """

    image_id: str
    split: str
    measured: bool
    height: int
    width: int
    labels: np.ndarray
    image: Path
    mask: Path | None
    instances: Path | None
    context: Path | None

    @property
    def class_ids(self) -> np.ndarray:
        """(K,) uint8 ids (1..C) of the present classes, ascending."""
        return (np.flatnonzero(self.labels) + 1).astype(np.uint8)


class ImageIndex:
    """The data set as stages see it: `ImageIndex(Path("results/run/dataset/index.csv"))`."""

    def __init__(self, path: Path) -> None:
        """Read index.csv and the classes.csv beside it.

        Args:
            path: The index file.

        Raises:
            ArtefactError: If either file is missing or malformed.
        """
        self.path = path
        self.folder = path.parent
        self.class_names = read_classes(self.folder / "classes.csv")
        self.rows: dict[str, ImageRow] = {}
        for row in self._read():
            if row.image_id in self.rows:
                raise ArtefactError(f"{path}: image {row.image_id} has two rows; rerun index_images")
            self.rows[row.image_id] = row

    @property
    def num_classes(self) -> int:
        """C, without background."""
        return len(self.class_names) - 1

    @cached_property
    def mean_rgb(self) -> np.ndarray:
        """(3,) float32 mean colour of the training images, [0, 255].

        Raises:
            ArtefactError: If statistics.json is missing or does not hold it.
        """
        path = self.folder / "statistics.json"
        content = read_json(path)
        try:
            mean = np.asarray(content["mean_rgb"], np.float32)
        except (KeyError, TypeError, ValueError):
            mean = np.zeros(0, np.float32)
        if mean.shape != (3,) or not ((mean >= 0) & (mean <= 255)).all():
            raise ArtefactError(f"{path}: expected mean_rgb of three numbers in [0, 255]; rerun index_images")
        return mean

    def split(self, split: str) -> list[ImageRow]:
        """The rows of a split, in index order.

        Raises:
            ValueError: If it is neither "train" nor "val".
        """
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}, expected {' or '.join(SPLITS)}")
        return [row for row in self.rows.values() if row.split == split]

    def shard(self, path: Path) -> list[ImageRow]:
        """The rows of one shard file, in its order; may be empty.

        Raises:
            ArtefactError: If the file is missing or malformed, or names an image that the index lacks.
        """
        with open_text(path) as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != ["image_id"]:
                found = f"found columns {reader.fieldnames}, expected ['image_id']"
                raise ArtefactError(f"{path}: {found}; rerun index_images")
            ids = [row["image_id"] for row in reader]
        try:
            return [self.rows[i] for i in ids]
        except KeyError as error:
            fault = f"image {error} is not in {self.path}"
            raise ArtefactError(f"{path}: {fault}; delete the dataset folder and rerun index_images") from None

    def _read(self) -> Iterator[ImageRow]:
        position = {name: k for k, name in enumerate(self.class_names[1:])}
        with open_text(self.path) as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != INDEX_COLUMNS:
                found = f"found columns {reader.fieldnames}, expected {list(INDEX_COLUMNS)}"
                raise ArtefactError(f"{self.path}: {found}; rerun index_images")
            for number, line in enumerate(reader, 2):
                if not _well_formed(line):
                    text = ",".join(str(v) for v in line.values())[:300]
                    raise ArtefactError(f"{self.path}: row {number} is malformed ({text!r}); rerun index_images")
                yield self._row(line, position)

    def _row(self, line: Mapping[str, str], position: Mapping[str, int]) -> ImageRow:
        """One line as a row; `position`: the place of each class name in `labels`."""
        labels = np.zeros(len(position), np.uint8)
        for name in filter(None, line["labels"].split(";")):
            if name not in position:
                fault = f"class {name!r} is not in classes.csv"
                raise ArtefactError(f"{self.path}: image {line['image_id']}: {fault}; rerun index_images")
            labels[position[name]] = 1
        return ImageRow(
            image_id=line["image_id"],
            split=line["split"],
            measured=line["measured"] == "1",
            height=int(line["height"]),
            width=int(line["width"]),
            labels=labels,
            image=self.folder / line["image"],
            mask=self._path(line["mask"]),
            instances=self._path(line["instances"]),
            context=self._path(line["context"]),
        )

    def _path(self, cell: str) -> Path | None:
        return self.folder / cell if cell else None


def _well_formed(line: dict[Any, Any]) -> bool:
    """Whether a line of the index has every cell, with a legal id, split and size."""
    if None in line or None in line.values():  # more or fewer cells than columns
        return False
    sizes = (line["height"], line["width"])
    return (
        bool(line["image"])
        and line["split"] in SPLITS
        and all(size.isdecimal() and len(size) < 10 for size in sizes)
        and int(sizes[0]) * int(sizes[1]) <= MOST_PIXELS
        and not id_fault(line["image_id"])
    )


def read_classes(path: Path) -> list[str]:
    """Class names by id, background first.

    Raises:
        ArtefactError: If the file is missing, or its ids are not 0, 1, 2 and so on.
    """
    with open_text(path) as file:
        rows = list(csv.DictReader(file))
    ids, names = [row.get("class_id") for row in rows], [row.get("name") for row in rows]
    if not rows or ids != [str(k) for k in range(len(rows))] or not all(names):
        expected = "expected the columns class_id,name with the ids 0, 1, 2 and so on, in order"
        raise ArtefactError(f"{path}: {expected}; correct it or rerun index_images")
    return [row["name"] for row in rows]
