"""Stage: mask proposals of the images, the same for every method."""

from __future__ import annotations

from pathlib import Path

from wsss.files.index import ImageIndex
from wsss.files.rle import pack
from wsss.files.text_files import write_json
from wsss.runtime.console import log, progress, warn
from wsss.settings.stage_settings import ProposalSettings
from wsss.stages.instances.proposer import proposer_of


def propose_masks(*, index: Path, shard: Path, settings: ProposalSettings, output: Path) -> None:
    """Propose masks for each image of a shard, best first.

    Args:
        index: The data set's index.csv.
        shard: The shard's list of images.
        settings: Kind of proposals; truth needs instance masks.
        output: JSON: image_id to a list of COCO run lengths.

    Raises:
        ArtefactError: If an input is missing or damaged, or an image has no true instances although kind is truth.
        MissingExtraError: If the kind needs an extra that is not installed.
    """
    rows, proposer = ImageIndex(index).shard(shard), proposer_of(settings.proposals)
    proposer.prepare(rows)
    found = {row.image_id: pack(proposer.propose(row)) for row in progress(rows, what="proposals")}
    write_json(output, found)
    empty = sum(not run_lengths for run_lengths in found.values())
    log.info("%d proposals of %d images", sum(map(len, found.values())), len(rows))
    if empty:
        warn("%s: %d of %d images have no proposal: no instance is found on them", output, empty, len(rows))
