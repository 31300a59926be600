"""Where mask proposals come from: one entry for each value of `instances.proposals.kind`.

A new kind is a value there (wsss/settings/instances.py, with a subsection of the same name if it has settings), an
entry of KINDS, and a sentence about its supervision for the report (PROPOSALS in wsss/stages/report).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_indexed_image, read_mask
from wsss.files.index import ImageRow
from wsss.files.mask_values import IGNORE
from wsss.settings.sections import ProposalsSection
from wsss.stages.instances.given_proposals import check_folder, read_proposals
from wsss.stages.instances.watershed import watershed_proposals


@dataclass(frozen=True, kw_only=True)
class ProposalKind:
    """One source of mask proposals.

    Attributes:
        propose: Makes or reads the proposals (S, H, W) bool of an image, best first.
        check: Checks all images of a shard before the first is worked on, if there is anything to check.
    """

    propose: Callable[[ImageRow, ProposalsSection], np.ndarray]
    check: Callable[[Sequence[ImageRow], ProposalsSection], None] = lambda rows, section: None


def _watershed(row: ImageRow, section: ProposalsSection) -> np.ndarray:
    w, image_u8 = section.watershed, read_indexed_image(row)
    return watershed_proposals(
        image_u8, smoothings=w.smoothings, count=w.count, min_area=w.min_area, max_area=w.max_area
    )[0]


def _folder(row: ImageRow, section: ProposalsSection) -> np.ndarray:
    f = section.folder
    return read_proposals(Path(f.root), row, count=f.count, min_area=f.min_area, max_area=f.max_area)


def _check_folder(rows: Sequence[ImageRow], section: ProposalsSection) -> None:
    check_folder(Path(section.folder.root), rows)


def _truth(row: ImageRow, section: ProposalsSection) -> np.ndarray:
    if row.instances is None:
        raise ArtefactError(
            f"image {row.image_id} has no true instances; instances.proposals.kind truth needs a data set that has them"
        )
    numbers = read_mask(row.instances)  # (H, W): 0 background, 255 ignored
    return np.array([numbers == k for k in np.unique(numbers) if 0 < k < IGNORE], np.bool_).reshape(-1, *numbers.shape)


KINDS = {
    "watershed": ProposalKind(propose=_watershed),
    "folder": ProposalKind(propose=_folder, check=_check_folder),
    "truth": ProposalKind(propose=_truth),
}
"""By the value of `instances.proposals.kind`."""
