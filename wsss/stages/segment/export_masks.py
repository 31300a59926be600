"""Stage: masks as palette PNGs, which users take away."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import save_mask
from wsss.files.index import ImageIndex
from wsss.files.store import MapReader
from wsss.files.text_files import write_csv
from wsss.runtime.console import progress

COLUMNS = ("image_id", "file", "classes")


def export_masks(*, index: Path, masks: list[Path], output: Path) -> None:
    """Write every mask as a palette PNG (VOC's coding and colours), then the list of them.

    Args:
        index: The data set's index.csv.
        masks: Store files with `mask` (H, W) uint8, all shards of a split.
        output: masks/{split}.csv: image_id, file (relative to this one), classes joined by ;. The masks are in the
            folder of the same name.

    Raises:
        ArtefactError: If an input is missing or damaged.
    """
    data = ImageIndex(index)
    names = data.class_names
    folder = output.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in masks:
        with MapReader(path) as reader:
            for image_id in progress(reader.image_ids, what="masks"):
                if image_id not in data.rows:  # the id becomes the name of a file
                    raise ArtefactError(f"{path}: image {image_id!r} is not in {index}; delete it and rerun")
                mask = reader.read(image_id, "mask")["mask"]
                save_mask(folder / f"{image_id}.png", mask)
                present = [int(c) for c in np.unique(mask) if 0 < c < len(names)]
                classes = ";".join(names[c] for c in present)
                rows.append({"image_id": image_id, "file": f"{folder.name}/{image_id}.png", "classes": classes})
    wanted = {Path(r["file"]).name for r in rows}
    for stale in folder.glob("*.png"):
        if stale.name not in wanted:
            stale.unlink()
    write_csv(output, COLUMNS, rows)
