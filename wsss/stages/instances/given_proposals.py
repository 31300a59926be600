"""Reads precomputed mask proposals of an image.

Formats: IMAGE_ID.json with run lengths or polygons, or IMAGE_ID.mat as MCG and COB write them (MATLAB up to version 7).

Shape legend: H×W pixels, S proposals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from pycocotools import mask as coco_mask

from wsss.files.errors import ArtefactError
from wsss.files.index import ImageRow
from wsss.files.limits import MOST_MATLAB_BYTES, MOST_PROPOSAL_BYTES, regular
from wsss.files.rle import encode
from wsss.files.text_files import read_json
from wsss.stages.instances.proposer import Proposer

MOST_PROPOSALS = 10_000
"""Number of proposals of a file that are looked at, those of an unwanted size included; further ones are not read.

`instances.proposals.folder.count` can ask for as many. MCG gives about 5,000."""
LISTED = 20
"""Images without a file that an error names."""
MATLAB_NAMES = ("superpixels", "labels", "maskmat")
"""Variables that are read: the first two are MCG's, the third is COB's."""
Fits = Callable[[int], bool]
"""Whether a proposal of so many pixels is neither too small nor too large."""


class GivenProposals(Proposer):
    """Proposals from files: `instances.proposals.folder`."""

    def prepare(self, rows: Sequence[ImageRow]) -> None:
        """Check that every image has its file."""
        check_folder(Path(self.settings.root), rows)

    def propose(self, row: ImageRow) -> np.ndarray:
        """Read the proposals of an image, (S, H, W) bool, in the file's order."""
        s = self.settings
        return read_proposals(Path(s.root), row, count=s.count, min_area=s.min_area, max_area=s.max_area)


def check_folder(folder: Path, rows: Sequence[ImageRow]) -> None:
    """Check that every image has its file, before the first is read.

    Raises:
        ArtefactError: If not; names the first LISTED images without a file.
    """
    bare = [r.image_id for r in rows if not any((folder / f"{r.image_id}{suffix}").is_file() for suffix in READERS)]
    if bare:
        names = " or ".join(f"IMAGE_ID{suffix}" for suffix in READERS)
        more = f" and {len(bare) - LISTED} more" if len(bare) > LISTED else ""
        raise ArtefactError(
            f"{folder}: {len(bare)} of {len(rows)} images have no file, {names}: {', '.join(bare[:LISTED])}{more}; "
            "instances.proposals.folder.root needs one for each image"
        )


def read_proposals(folder: Path, row: ImageRow, *, count: int, min_area: float, max_area: float) -> np.ndarray:
    """Read the first `count` proposals of an image that are neither too small nor too large, in the file's order.

    The published code leaves out the same sizes, but among the first `count`, so that fewer remain.
    Only the first MOST_PROPOSALS of a file are looked at.

    Args:
        folder: Holds IMAGE_ID.json or IMAGE_ID.mat.
        row: The image.
        count: Largest number of proposals.
        min_area: Smallest share of the image.
        max_area: Proposals of this share or more are left out.

    Returns:
        (S, H, W) bool.

    Raises:
        ArtefactError: If there is no such file, it is damaged, or its masks are of another size.
    """
    size = (row.height, row.width)

    def fits(pixels: int) -> bool:
        return min_area <= pixels / (row.height * row.width) < max_area

    for suffix, reader in READERS.items():
        path = folder / f"{row.image_id}{suffix}"
        if path.is_file():
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ArtefactError(f"{path}: is a link out of {folder}; put the file inside")
            masks = reader(path, size=size, fits=fits)
            return np.array(list(islice(masks, count)), np.bool_).reshape(-1, *size)
    names = " and ".join(f"no {row.image_id}{suffix}" for suffix in READERS)
    raise ArtefactError(f"{folder}: {names}; instances.proposals.folder.root needs one for each image")


def _from_json(path: Path, *, size: tuple[int, int], fits: Fits) -> Iterator[np.ndarray]:
    """A list of COCO segmentations, or of objects that have one as `segmentation`."""
    entries = read_json(path, most=MOST_PROPOSAL_BYTES, remedy="put the whole file there")
    if not isinstance(entries, list):
        raise ArtefactError(f"{path}: found {type(entries).__name__}, expected a list of COCO segmentations")
    for k, entry in enumerate(entries[:MOST_PROPOSALS]):
        outline = entry["segmentation"] if isinstance(entry, dict) and "segmentation" in entry else entry
        try:
            packed = encode(outline, size=size)
        except ValueError as error:
            raise ArtefactError(f"{path}: mask {k}: {error}") from None
        if fits(int(coco_mask.area(packed))):
            yield coco_mask.decode(packed) > 0


def _from_mat(path: Path, *, size: tuple[int, int], fits: Fits) -> Iterator[np.ndarray]:
    """MCG: `superpixels` (H, W), and `labels`, a cell of each proposal's superpixels. COB: `maskmat`, a cell of masks.

    In COB's files a mask is (H, W), and a pixel is inside where it is above 0.
    """
    try:
        regular(path, most=MOST_MATLAB_BYTES)
        arrays: dict[str, Any] = scipy.io.loadmat(path, variable_names=MATLAB_NAMES)
        names = [name for name, *_ in scipy.io.whosmat(path)]
    except Exception as error:  # scipy raises many kinds of errors on damaged files
        reason = str(error)[:200] or type(error).__name__
        raise ArtefactError(f"{path}: no MATLAB file up to version 7, or a damaged one ({reason})") from None
    if "superpixels" in arrays and "labels" in arrays:
        superpixels = _plane(arrays["superpixels"], path, "superpixels have", size)
        numbers, sizes = np.unique(superpixels, return_counts=True)
        for k, given in enumerate(np.asarray(arrays["labels"]).ravel()[:MOST_PROPOSALS]):
            members = _numbers(given, path, f"proposal {k}").ravel()
            if fits(int(sizes[np.isin(numbers, members)].sum())):  # before a mask is made
                yield np.isin(superpixels, members)
    elif "maskmat" in arrays:
        for k, given in enumerate(np.asarray(arrays["maskmat"]).ravel()[:MOST_PROPOSALS]):
            mask = _plane(given, path, f"mask {k} has", size) > 0
            if fits(int(mask.sum())):
                yield mask
    else:
        found = ", ".join(names)[:200] or "nothing"
        raise ArtefactError(f"{path}: found {found}, expected superpixels and labels (MCG) or maskmat (COB)")


def _plane(given: Any, path: Path, what: str, size: tuple[int, int]) -> np.ndarray:
    """(H, W) numbers."""
    array = _numbers(given, path, what.partition(" has")[0].removesuffix(" have"))
    if array.shape != size:
        raise ArtefactError(f"{path}: {what} (height, width) {array.shape}, the image {size}")
    return array


def _numbers(given: Any, path: Path, what: str) -> np.ndarray:
    array = np.asarray(given)
    if array.dtype.kind not in "biuf":
        raise ArtefactError(f"{path}: {what}: found {array.dtype}, expected numbers")
    return array


READERS = {".json": _from_json, ".mat": _from_mat}
"""By suffix; the first file that an image has is read."""
