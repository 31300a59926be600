"""What the small artefacts are and how files are written: index, classes, shards, JSON; atomic writes (no torch).

dataset/index.csv    image_id,split,measured,height,width,labels,image,mask,instances,context,content
                     labels: class names joined by ";"; paths are relative to the index's folder or absolute; an empty path: there is none;
                     content: digest of the decoded image and its masks, so that a replaced file changes the index
                     measured: 1 where truth masks of this image count in the train figures
dataset/classes.csv  class_id,name (0 is background); for COCO whose file names end in its image ids also category_id (wsss/files/coco_ids.py)
dataset/statistics.json  mean_rgb: mean colour of the training images, [0, 255]
dataset/shards/{split}-{n}.csv  image_id
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from wsss.files.limits import MOST_JSON_BYTES, MOST_PIXELS, id_fault, regular
from wsss.files.temporaries import temporary_of
from wsss.runtime.disk_errors import unwritable

IGNORE = 255
"""Mask value that takes no part in training and evaluation."""
MOST_NUMBERED = IGNORE - 1
"""Instances that fit into an image of numbers."""


class ArtefactError(ValueError):
    """A file that is missing, damaged or not what was expected; the message says which and what to do."""


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """One image of the index.

    Attributes:
        image_id: Stable key.
        split: "train" or "val".
        measured: Whether its truth counts in measurements.
        height: Height in px, after EXIF rotation.
        width: Width in px.
        labels: (C,) uint8 multi-hot of the foreground classes.
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


SPLITS = ("train", "val")
INDEX_COLUMNS = (
    "image_id",
    "split",
    "measured",
    "height",
    "width",
    "labels",
    "image",
    "mask",
    "instances",
    "context",
    "content",
)


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
                raise ArtefactError(f"{path}: image {row.image_id} stands in two rows; rerun index_images")
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
            raise ArtefactError(
                f"{path}: found no mean_rgb of three numbers in [0, 255], expected what index_images writes; rerun index_images"
            )
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
        """The rows of one shard file, in its order; may be empty."""
        with open_text(path) as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != ["image_id"]:
                raise ArtefactError(
                    f"{path}: found columns {reader.fieldnames}, expected ['image_id']; rerun index_images"
                )
            ids = [row["image_id"] for row in reader]
        try:
            return [self.rows[i] for i in ids]
        except KeyError as error:
            raise ArtefactError(
                f"{path}: image {error} is not in {self.path}; delete the dataset folder and rerun index_images"
            ) from None

    def _read(self) -> Iterator[ImageRow]:
        position = {name: k for k, name in enumerate(self.class_names[1:])}
        with open_text(self.path) as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != INDEX_COLUMNS:
                raise ArtefactError(
                    f"{self.path}: found columns {reader.fieldnames}, expected {list(INDEX_COLUMNS)}; rerun index_images"
                )
            for number, line in enumerate(reader, 2):
                if (
                    None in line
                    or None in line.values()
                    or not line["image"]
                    or line["split"] not in SPLITS
                    or not all(line[k].isdecimal() and len(line[k]) < 10 for k in ("height", "width"))
                    or int(line["height"]) * int(line["width"]) > MOST_PIXELS
                    or id_fault(line["image_id"])
                ):
                    raise ArtefactError(
                        f"{self.path}: row {number} is malformed ({','.join(str(v) for v in line.values())[:300]!r}); rerun index_images"
                    )
                labels = np.zeros(len(position), np.uint8)
                for name in filter(None, line["labels"].split(";")):
                    if name not in position:
                        raise ArtefactError(
                            f"{self.path}: image {line['image_id']}: class {name!r} is not in classes.csv; rerun index_images"
                        )
                    labels[position[name]] = 1
                paths = {
                    key: self.folder / line[key] if line[key] else None
                    for key in ("image", "mask", "instances", "context")
                }
                assert paths["image"] is not None, "checked above"
                yield ImageRow(
                    image_id=line["image_id"], split=line["split"], measured=line["measured"] == "1", height=int(line["height"]), width=int(line["width"]), labels=labels,
                    image=paths["image"], mask=paths["mask"], instances=paths["instances"], context=paths["context"],
                )  # fmt: skip


def read_classes(path: Path) -> list[str]:
    """Class names by id, background first.

    Raises:
        ArtefactError: If the file is missing, or its ids are not 0, 1, 2 and so on.
    """
    with open_text(path) as file:
        rows = list(csv.DictReader(file))
    if (
        not rows
        or [row.get("class_id") for row in rows] != [str(k) for k in range(len(rows))]
        or not all(row.get("name") for row in rows)
    ):
        raise ArtefactError(
            f"{path}: expected the columns class_id,name with the ids 0, 1, 2 and so on, in order; mend it or rerun index_images"
        )
    return [row["name"] for row in rows]


@contextmanager
def open_text(path: Path, *, most: int = 0, mend: str = "delete it and rerun its stage") -> Iterator[Any]:
    """A text file for reading, with a clear error if it is missing, no ordinary file, larger than `most` bytes (0: any), not UTF-8 or no CSV where it is read as one."""
    try:
        regular(path, most=most)
        file = path.open(newline="", encoding="utf-8")
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such file; run the workflow up to the stage that makes it") from None
    except ValueError as error:
        raise ArtefactError(f"{path}: cannot be read: {error}") from None
    with file:
        try:
            yield file
        except UnicodeDecodeError as error:
            raise ArtefactError(f"{path}: not UTF-8 text ({error}); {mend}") from None
        except csv.Error as error:
            raise ArtefactError(f"{path}: not valid CSV ({error}); {mend}") from None


def read_json(path: Path, *, most: int = MOST_JSON_BYTES, mend: str = "delete it and rerun its stage") -> Any:
    """One JSON file, with a clear error if it is missing, malformed, or larger than `most` bytes; `mend`: what to do then."""
    with open_text(path, most=most, mend=mend) as file:
        try:
            return json.load(file)
        except UnicodeDecodeError:
            raise
        except (
            ValueError,
            RecursionError,
        ) as error:  # malformed, numbers of thousands of digits, thousands of lists in each other
            raise ArtefactError(f"{path}: not valid JSON ({str(error)[:200]}); {mend}") from None


@contextmanager
def atomic(path: Path, *, flushed: bool = True) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` when the block ends well, and vanishes when it does not.

    Args:
        path: The file.
        flushed: Flush the file to disk before the rename, so that `path` is whole or absent even after a power cut, not only after a kill. Not for each of thousands of images: a list that is
            written after them declares them.

    Raises:
        UnwritableError: If the disk is full, or nothing may be written there; what was at `path` is as before.
    """
    temporary = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if flushed:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if flushed:
            _flush_folder(path.parent)
    except Exception as error:
        if isinstance(error, OSError) and (
            error.filename is None or Path(os.fsdecode(error.filename)) in (temporary, path, *path.parents)
        ):
            raise unwritable(path, error) or error from None
        raise
    finally:
        with suppress(OSError):  # on a disk that is read-only even this is refused
            temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_csv(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Write a CSV file, whole or not at all."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


METRIC_COLUMNS = (
    "run",
    "method",
    "variant",
    "stage",
    "round",
    "cycle",
    "split",
    "seed",
    "threshold",
    "metric",
    "class",
    "value",
)
"""Columns of metrics.csv and of the fragments that are joined into it; empty where one does not apply."""
