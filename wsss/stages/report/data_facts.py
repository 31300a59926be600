"""Counts of the data set that the page shows (no torch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsss.files.index import ImageIndex, ImageRow


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """Counts of a split.

    Attributes:
        images: Images.
        measured: Images whose truth mask counts in the figures.
        counts: Images of each foreground class, by id.
        labels: Mean number of classes an image.
    """

    images: int
    measured: int
    counts: Sequence[int]
    labels: float


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Names of the foreground classes by id, and counts of both splits."""

    classes: Sequence[str]
    train: SplitFacts
    val: SplitFacts

    @property
    def has_truth(self) -> bool:
        """Whether any image has a truth mask that counts."""
        return self.train.measured + self.val.measured > 0


def data_facts(index: ImageIndex) -> DataFacts:
    """Count images, truth masks and labels."""
    train, val = (_split_facts(index.split(split), index.num_classes) for split in ("train", "val"))
    return DataFacts(classes=index.class_names[1:], train=train, val=val)


def _split_facts(rows: Sequence[ImageRow], num_classes: int) -> SplitFacts:
    counts = np.sum([row.labels for row in rows], axis=0, dtype=int) if rows else np.zeros(num_classes, int)
    return SplitFacts(
        images=len(rows),
        measured=sum(has_truth(row) for row in rows),
        counts=[int(c) for c in counts],
        labels=float(counts.sum()) / max(len(rows), 1),
    )


def has_truth(row: ImageRow) -> bool:
    """Whether the image's truth mask is there and counts in the figures."""
    return row.mask is not None and row.mask.is_file() and row.measured
