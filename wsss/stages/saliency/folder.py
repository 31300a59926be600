"""Saliency maps that were given, in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import opened
from wsss.files.index import ImageRow
from wsss.settings.sections import SaliencyFolderSection
from wsss.stages.saliency.estimator import Estimator

LISTED = 20
"""Missing files that an error names. The others are counted."""


class Folder(Estimator):
    """`saliency.kind: folder`."""

    settings: SaliencyFolderSection
    seconds = 0.01

    def prepare(self, rows: Sequence[ImageRow]) -> None:
        """Check that every map is there."""
        missing = [str(p) for p in map(self._path, rows) if not p.is_file()]
        if missing:
            more = f"\n  and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
            listed = "".join(f"\n  {p}" for p in missing[:LISTED])
            found = f"{len(missing)} of {len(rows)} maps are missing (expected IMAGE_ID.png, 8-bit grey)"
            raise ArtefactError(f"saliency.folder.root {self.settings.root}: {found}:{listed}{more}")

    def estimate(self, row: ImageRow) -> np.ndarray:
        """The map as it is: (H, W) uint8, 255 = salient."""
        path = self._path(row)
        with opened(path, what="image") as image:
            mode, saliency = image.mode, np.array(image)
        if mode != "L":
            expected = "expected 8-bit grey (mode L), 255 = salient; convert it"
            raise ArtefactError(f"{path}: found an image of mode {mode}, {expected}")
        if saliency.shape != (row.height, row.width):
            found = f"found {saliency.shape[0]}×{saliency.shape[1]} px (height×width)"
            expected = f"expected the image's {row.height}×{row.width}; resize the map to its image"
            raise ArtefactError(f"{path}: {found}, {expected}")
        return saliency

    def _path(self, row: ImageRow) -> Path:
        root = Path(self.settings.root)
        path = root / f"{row.image_id}.png"
        if not path.resolve().is_relative_to(root.resolve()):
            leads = f"image id {row.image_id!r} leads out of saliency.folder.root {root}"
            raise ArtefactError(f"{leads}; ids must not hold '..'")
        return path
