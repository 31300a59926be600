"""Stage: mask proposals of the images, the same for every method."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_indexed_image, read_mask
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.rle import pack
from wsss.files.text_files import write_json
from wsss.runtime.console import log, progress, warn
from wsss.runtime.extras import require
from wsss.settings.sections import ProposalsSection
from wsss.settings.stage_settings import ProposalSettings
from wsss.stages.instances.given_proposals import check_folder, read_proposals


def propose_masks(*, index: Path, shard: Path, settings: ProposalSettings, output: Path) -> None:
    """Proposals of each image of a shard, best first.

    Args:
        index: The data set's index.csv.
        shard: The shard's list of images.
        settings: Kind of proposals; truth needs instance masks.
        output: JSON: image_id to a list of COCO run lengths.

    Raises:
        ArtefactError: If an input is missing or damaged, or an image has no true instances where they are asked for.
        MissingExtraError: If the kind is watershed and the extra `instances` is not installed.
    """
    if settings.proposals.kind == "watershed":
        require("instances", reason="instances.proposals.kind 'watershed'")
    rows = ImageIndex(index).shard(shard)
    if settings.proposals.kind == "folder":
        check_folder(Path(settings.proposals.folder.root), rows)
    found = {row.image_id: pack(_proposals(row, settings.proposals)) for row in progress(rows, what="proposals")}
    write_json(output, found)
    empty = sum(not outlines for outlines in found.values())
    log.info("%d proposals of %d images", sum(map(len, found.values())), len(rows))
    if empty:
        warn("%s: %d of %d images have no proposal: no instance is found on them", output, empty, len(rows))


def _proposals(row: ImageRow, section: ProposalsSection) -> np.ndarray:
    """(S, H, W) bool of one image."""
    if section.kind == "watershed":
        from wsss.stages.instances.watershed import watershed_proposals  # higra: the extra `instances`

        w = section.watershed
        return watershed_proposals(
            read_indexed_image(row), smoothings=w.smoothings, count=w.count, min_area=w.min_area, max_area=w.max_area
        )[0]
    if section.kind == "folder":
        f = section.folder
        return read_proposals(Path(f.root), row, count=f.count, min_area=f.min_area, max_area=f.max_area)
    if row.instances is None:
        raise ArtefactError(
            f"image {row.image_id} has no true instances; instances.proposals.kind truth needs a data set that has them"
        )
    numbers = read_mask(row.instances)
    return np.array([numbers == k for k in np.unique(numbers) if 0 < k < 255], np.bool_).reshape(-1, *numbers.shape)
