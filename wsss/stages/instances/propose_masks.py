"""Stage: mask proposals of the images, the same for every method."""

from __future__ import annotations

from pathlib import Path

from wsss.files.index import ImageIndex
from wsss.files.rle import pack
from wsss.files.text_files import write_json
from wsss.runtime.console import log, progress, warn
from wsss.settings.stage_settings import ProposalSettings
from wsss.stages.instances.proposal_kinds import KINDS


def propose_masks(*, index: Path, shard: Path, settings: ProposalSettings, output: Path) -> None:
    """Propose masks for each image of a shard, best first.

    Args:
        index: The data set's index.csv.
        shard: The shard's list of images.
        settings: Kind of proposals; truth needs instance masks.
        output: JSON: image_id to a list of COCO run lengths.

    Raises:
        ArtefactError: If an input is missing or damaged, or an image has no true instances although kind is truth.
    """
    rows, section = ImageIndex(index).shard(shard), settings.proposals
    kind = KINDS[section.kind]
    kind.check(rows, section)
    found = {row.image_id: pack(kind.propose(row, section)) for row in progress(rows, what="proposals")}
    write_json(output, found)
    empty = sum(not outlines for outlines in found.values())
    log.info("%d proposals of %d images", sum(map(len, found.values())), len(rows))
    if empty:
        warn("%s: %d of %d images have no proposal: no instance is found on them", output, empty, len(rows))
