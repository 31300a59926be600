"""Where precomputed mask proposals are read from: {image_id}.json with run lengths or polygons, or {image_id}.mat as MCG and COB write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from wsss.files.errors import ArtefactError
from wsss.files.index import ImageRow
from wsss.files.limits import MOST_PROPOSAL_BYTES, MOST_PROPOSALS
from wsss.files.rle import encode
from wsss.files.text_files import read_json
from wsss.stages.instances.matlab import read_variables

LISTED = 20
"""Images without a file that an error names."""
Fits = Callable[[int], bool]
"""Whether a proposal of so many pixels is neither too small nor too large."""


def check_folder(folder: Path, rows: Sequence[ImageRow]) -> None:
    """Every image has its file, before the first is read.

    Raises:
        ArtefactError: If not; names the first LISTED without.
    """
    bare = [
        row.image_id for row in rows if not any((folder / f"{row.image_id}{suffix}").is_file() for suffix in READERS)
    ]
    if bare:
        more = f" and {len(bare) - LISTED} more" if len(bare) > LISTED else ""
        raise ArtefactError(
            f"{folder}: {len(bare)} of {len(rows)} images have no file, {' or '.join(f'IMAGE_ID{s}' for s in READERS)}: {', '.join(bare[:LISTED])}{more}; "
            "instances.proposals.folder.root needs one for each image"
        )


def read_proposals(folder: Path, row: ImageRow, *, count: int, min_area: float, max_area: float) -> np.ndarray:
    """The first `count` proposals of one image's file that are neither too small nor too large, in the file's order.

    The published code leaves out the same sizes, but among the first `count`, so that fewer stay. Of a file the first MOST_PROPOSALS are looked at.

    Args:
        folder: Holds {image_id}.json or {image_id}.mat.
        row: The image.
        count: Most proposals.
        min_area: Smallest share of the image.
        max_area: From this share on a proposal is left out.

    Returns:
        (S, H, W) bool.

    Raises:
        ArtefactError: If there is no such file, it is damaged, or its masks are of another size.
    """
    size = (row.height, row.width)
    for suffix, reader in READERS.items():
        path = folder / f"{row.image_id}{suffix}"
        if path.is_file():
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ArtefactError(f"{path}: is a link out of {folder}; put the file inside")
            masks = reader(
                path, size=size, fits=lambda pixels: min_area <= pixels / (row.height * row.width) < max_area
            )
            return np.array(list(islice(masks, count)), np.bool_).reshape(-1, *size)
    raise ArtefactError(
        f"{folder}: no {row.image_id}.json and no {row.image_id}.mat; instances.proposals.folder.root needs one for each image"
    )


def _from_json(path: Path, *, size: tuple[int, int], fits: Fits) -> Iterator[np.ndarray]:
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
    """MCG: `superpixels` (H, W) and `labels`, a cell of each proposal's superpixels; COB's VOC files: `maskmat`, a cell of masks."""
    try:
        content = read_variables(path, ("superpixels", "labels", "maskmat"))
        arrays = {name: array for name, array in content.items() if array is not None}
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: no MATLAB file up to version 7, or a damaged one ({error})") from None
    if "superpixels" in arrays and "labels" in arrays:
        yield from _of_superpixels(
            _of_size(arrays["superpixels"], path, "superpixels have", size),
            arrays["labels"].ravel()[:MOST_PROPOSALS],
            fits,
        )
    elif "maskmat" in arrays:
        for k, given in enumerate(arrays["maskmat"].ravel()[:MOST_PROPOSALS]):
            mask = _of_size(np.asarray(given), path, f"mask {k} has", size) > 0
            if fits(int(mask.sum())):
                yield mask
    else:
        raise ArtefactError(
            f"{path}: found {', '.join(content)[:200] or 'nothing'}, expected superpixels and labels (MCG) or maskmat (COB)"
        )


def _of_superpixels(superpixels: np.ndarray, proposals: Any, fits: Fits) -> Iterator[np.ndarray]:
    """Masks (H, W) of the proposals that fit, each given by the numbers of its superpixels; sizes are added up before a mask is made."""
    numbers, sizes = np.unique(superpixels, return_counts=True)
    for members in proposals:
        chosen = np.asarray(members).ravel()
        if fits(int(sizes[np.isin(numbers, chosen)].sum())):
            yield np.isin(superpixels, chosen)


def _of_size(array: np.ndarray, path: Path, name: str, size: tuple[int, int]) -> np.ndarray:
    if array.shape != size:
        raise ArtefactError(f"{path}: {name} (height, width) {array.shape}, the image {size}")
    return array


READERS = {".json": _from_json, ".mat": _from_mat}
"""By suffix; the first that an image has is read."""
