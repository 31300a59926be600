"""The embedded data set: scenes drawn from a seed. What draws them is in `drawing/` (no torch)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsss.settings.sections import ScenesSection
from wsss.stages.dataset.faults import Faults
from wsss.stages.dataset.names import check_names
from wsss.stages.dataset.source import Description, Source, SourceRow
from wsss.workflow.digests import listing_digest


class ScenesSource(Source):
    """`dataset.kind: scenes`. Images and truth are drawn beside the index."""

    settings: ScenesSection
    written = 1.5
    """Images and truth."""

    def read(self, faults: Faults, *, folder: Path, workers: int) -> Description:
        """Draw the scenes into `folder`."""
        # They decode and write images, which rules do not need.
        from wsss.stages.dataset.drawing.objects import class_names
        from wsss.stages.dataset.drawing.writing import draw_scenes

        names = class_names()
        check_names(names, faults, where="scenes")
        rows = [_row(scene, folder=folder) for scene in draw_scenes(folder, settings=self.settings)]
        return Description(where="scenes", names=names, rows=rows)

    def count(self) -> dict[str, int]:
        """The numbers of the settings."""
        return {"train": self.settings.train, "val": self.settings.val}

    def listing(self) -> str:
        """Digest of no file: the settings say everything."""
        return listing_digest()

    def labels(self) -> list[Path]:
        """None."""
        return []

    def image_size(self) -> tuple[int, int]:
        """The mean side, twice."""
        side = (self.settings.min_side + self.settings.max_side) // 2
        return side, side


def _row(scene: dict[str, Any], *, folder: Path) -> SourceRow:
    return SourceRow(
        where=f"scene {scene['image_id']}",
        image_id=scene["image_id"],
        split=scene["split"],
        labels=tuple(scene["labels"]),
        image=folder / scene["image"],
        mask=folder / scene["mask"],
        instances=folder / scene["instances"],
        context=folder / scene["context"],
        measured=True,
    )
