"""What every kind of data set offers (`Source`), and what it reads (`Description`).

Rule files and `wsss plan` ask a source for its listing and its counts, so a kind's module imports what decodes images
or draws truth only inside `read`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from wsss.settings.kinds import load_class
from wsss.settings.sections import DatasetSection
from wsss.stages.dataset.faults import Faults

SPLITS = ("train", "val")


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """One image as its source describes it.

    Attributes:
        where: Where the source says so, for messages, e.g. "labels.csv row 17".
        image_id: Key of the image.
        split: "train" or "val".
        labels: Names of the classes, each once.
        image: The image.
        size: (height, width), if the source gives it.
        mask: Truth mask, if there is one.
        instances: Instance mask, if there is one.
        context: Mask of the co-occurring background, if there is one.
        measured: Whether the truth mask counts in measurements.
    """

    where: str
    image_id: str
    split: str
    labels: tuple[str, ...]
    image: Path
    size: tuple[int, int] | None = None
    mask: Path | None = None
    instances: Path | None = None
    context: Path | None = None
    measured: bool = False


@dataclass(frozen=True, kw_only=True)
class Description:
    """A data set as its source describes it, not yet checked.

    Attributes:
        where: What was read, for messages.
        names: Foreground classes, ids 1..C.
        rows: All images.
        category_ids: COCO's ids of `names`, if every image id ends in COCO's number of the image; otherwise empty.
    """

    where: str
    names: list[str]
    rows: list[SourceRow]
    category_ids: tuple[int, ...] = ()


class Source(ABC):
    """A kind of data set. To add one: a subclass in a module of its own, and an entry in `wsss/settings/kinds.py`."""

    labels_an_image: ClassVar[float] = 1.6
    """Mean number of labels of an image, for `wsss plan`. VOC's train_aug has 1.555."""
    written: ClassVar[float] = 0.0
    """Bytes per image pixel that `read` writes. 0: it writes nothing, so `wsss verify` can read the labels again."""

    def __init__(self, settings: Any) -> None:
        """Keep the kind's own settings: its section, or its mapping under `dataset.custom`."""
        self.settings = settings

    @abstractmethod
    def read(self, faults: Faults, *, folder: Path, workers: int) -> Description:
        """Read all rows and class names.

        Args:
            faults: Receives what is wrong.
            folder: A folder of this kind's own beside the index, for what it draws. It may not exist yet.
            workers: Processes that draw.

        Returns:
            The description. Its images may be missing or broken.

        Raises:
            DataError: If there is nothing to read.
        """

    @abstractmethod
    def count(self) -> dict[str, int]:
        """Images of each split ("train", "val"), without opening any image.

        Raises:
            OSError: If a file that lists them cannot be read.
        """

    @abstractmethod
    def listing(self) -> str:
        """Digest of the files that the index depends on. If it changes, the index is made again."""

    @abstractmethod
    def labels(self) -> list[Path]:
        """Files that name the labels, or list the images that have them. Provenance records their digests."""

    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of a typical image in px, for `wsss plan`. None: photographs as VOC's."""
        return None


def source_of(section: DatasetSection) -> Source:
    """The data set that the settings choose. Imports its kind's module."""
    source: Source = load_class(section.place)(section.own)
    return source
