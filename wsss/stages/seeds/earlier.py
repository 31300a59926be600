"""What earlier rounds claimed of an image, from their region files (no torch)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.index import ImageRow
from wsss.files.store import MapReader


class Erased:
    """The pixels that rounds claimed: the union over rounds and classes (AE-PSL, Algorithm 1: F_i)."""

    def __init__(self, paths: list[Path]) -> None:
        """Open the files.

        Args:
            paths: Store files with `regions` (K, H, W) bool, one for each (round, shard). An image may be in several.

        Raises:
            ArtefactError: If a file is missing or damaged.
        """
        self._readers = [MapReader(path) for path in paths]

    def __call__(self, row: ImageRow) -> np.ndarray | None:
        """Return the claimed pixels of an image, (H, W) bool; None if there are no rounds.

        Raises:
            ArtefactError: If no file holds the image, or a region has another size than the image.
        """
        found = [r.read(row.image_id, "regions")["regions"].any(0) for r in self._readers if row.image_id in r]
        if not found:
            if self._readers:
                files = ", ".join(str(r.path) for r in self._readers)
                raise ArtefactError(f"image {row.image_id} is in none of {files}; give the regions of every shard")
            return None
        size = (row.height, row.width)
        if any(f.shape != size for f in found):
            raise ArtefactError(
                f"image {row.image_id}: regions of {found[0].shape}, expected {size} (height, width); claim them again"
            )
        return np.logical_or.reduce(found)
