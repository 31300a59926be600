"""The guard against masks that silently come out all background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsss.files.mask_values import IGNORE
from wsss.runtime.console import warn

FEWEST = 4
"""Labelled images from which an all-background shard is an error and no accident."""


class BackgroundGuard:
    """Counts labelled images whose mask holds no class: `guard.add(...)` each, then `guard.check()` before the file is finished."""

    def __init__(self, *, stage: str, look_at: str) -> None:
        """Start counting.

        Args:
            stage: Stage, for the message.
            look_at: The settings to check, for the message.
        """
        self.stage, self.look_at = stage, look_at
        self.labelled = self.empty = 0

    def add(self, mask: np.ndarray, class_ids: Sequence[int] | np.ndarray) -> None:
        """Count one (H, W) mask; images without labels do not count."""
        if len(class_ids):
            self.labelled += 1
            self.empty += not ((mask != 0) & (mask != IGNORE)).any()

    def check(self) -> None:
        """Warn if more than half of the labelled images have no class.

        Raises:
            ValueError: If none of at least `FEWEST` has.
        """
        found = f"{self.stage}: {self.empty} of {self.labelled} images with labels have a mask without any class (background and ignored pixels only)"
        if self.empty == self.labelled >= FEWEST:
            raise ValueError(f"{found}; nothing could be learnt from them. Check {self.look_at}")
        if 2 * self.empty > self.labelled:
            warn("%s; check %s", found, self.look_at)
