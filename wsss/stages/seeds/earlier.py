"""What earlier rounds claimed of an image, read from their region files (no torch)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.index import ImageRow
from wsss.files.store import MapReader


class Erased:
    """The pixels that rounds claimed: union over rounds and classes (AE-PSL Algorithm 1, F_i). One file a (round, shard)."""

    def __init__(self, paths: list[Path]) -> None:
        """Open the files.

        Args:
            paths: Store files with `regions` (K, H, W) bool; an image may be in several (one a round).

        Raises:
            ArtefactError: If a file is missing or damaged.
        """
        self._readers = [MapReader(path) for path in paths]

    def __call__(self, row: ImageRow) -> np.ndarray | None:
        """(H, W) bool, or None if there are no rounds.

        Raises:
            ArtefactError: If rounds were given but none holds the image, or its region has another size than the image.
        """
        found = [r.read(row.image_id, "regions")["regions"].any(0) for r in self._readers if row.image_id in r]
        if not found:
            if self._readers:
                raise ArtefactError(
                    f"image {row.image_id} is in none of {', '.join(str(r.path) for r in self._readers)}; give the regions of every shard"
                )
            return None
        if any(f.shape != (row.height, row.width) for f in found):
            raise ArtefactError(
                f"image {row.image_id}: regions of {found[0].shape}, expected {(row.height, row.width)} (height, width); claim them again"
            )
        return np.logical_or.reduce(found)
