"""The guard against masks that silently come out all background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsss.files.mask_values import IGNORE
from wsss.runtime.console import warn

FEWEST = 4
"""Smallest number of images with labels for which an all-background shard is an error, not chance."""


class BackgroundGuard:
    """Counts images that have image-level labels but a mask without any class.

    Call `add` for each image, then `check` before the file is finished.
    """

    def __init__(self, *, stage: str, look_at: str) -> None:
        """Start counting.

        Args:
            stage: Stage, for the message.
            look_at: The settings to check, for the message.
        """
        self.stage, self.look_at = stage, look_at
        self.labelled = self.empty = 0  # images with labels, and those of them without a class in the mask

    def add(self, mask: np.ndarray, class_ids: Sequence[int] | np.ndarray) -> None:
        """Count the (H, W) mask of an image with the labels `class_ids`; an image without labels does not count."""
        if len(class_ids):
            self.labelled += 1
            self.empty += not ((mask != 0) & (mask != IGNORE)).any()

    def check(self) -> None:
        """Warn if more than half of the masks have no class.

        Raises:
            ValueError: If no mask has one, and there are at least `FEWEST`.
        """
        found = (
            f"{self.stage}: {self.empty} of {self.labelled} images with labels have a mask without any class "
            "(background and ignored pixels only)"
        )
        if self.empty == self.labelled >= FEWEST:
            raise ValueError(f"{found}; nothing could be learnt from them. Check {self.look_at}")
        if 2 * self.empty > self.labelled:
            warn("%s; check %s", found, self.look_at)
