"""Where precomputed mask proposals are read from: {image_id}.json with run lengths or polygons, or {image_id}.mat as MCG and COB write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss.artefacts import ArtefactError, ImageRow, read_json
from wsss.instances.matlab import read_variables
from wsss.limits import MOST_PROPOSAL_BYTES
from wsss.outlines import unpack


def read_proposals(folder: Path, row: ImageRow, *, count: int) -> np.ndarray:
    """The first `count` proposals of one image's file, in the file's order.

    Args:
        folder: Holds {image_id}.json or {image_id}.mat.
        row: The image.
        count: Most proposals.

    Returns:
        (S, H, W) bool.

    Raises:
        ArtefactError: If there is no such file, it is damaged, or its masks are of another size.
    """
    for suffix, reader in ((".json", _from_json), (".mat", _from_mat)):
        path = folder / f"{row.image_id}{suffix}"
        if path.is_file():
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ArtefactError(f"{path}: is a link out of {folder}; put the file inside")
            return reader(path, size=(row.height, row.width), count=count)
    raise ArtefactError(f"{folder}: no {row.image_id}.json and no {row.image_id}.mat; instances.proposals.folder.root needs one for each image")


def _from_json(path: Path, *, size: tuple[int, int], count: int) -> np.ndarray:
    entries = read_json(path, most=MOST_PROPOSAL_BYTES)
    if not isinstance(entries, list):
        raise ArtefactError(f"{path}: found {type(entries).__name__}, expected a list of COCO segmentations")
    outlines = [e["segmentation"] if isinstance(e, dict) and "segmentation" in e else e for e in entries[:count]]
    try:
        return unpack(outlines, size=size)
    except ValueError as error:
        raise ArtefactError(f"{path}: {error}") from None


def _from_mat(path: Path, *, size: tuple[int, int], count: int) -> np.ndarray:
    """MCG: `superpixels` (H, W) and `labels`, a cell of each proposal's superpixels; COB's VOC files: `maskmat`, a cell of masks."""
    try:
        content = read_variables(path, ("superpixels", "labels", "maskmat"))
        arrays = {name: array for name, array in content.items() if array is not None}
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: no MATLAB file up to version 7, or a damaged one ({error})") from None
    if "superpixels" in arrays and "labels" in arrays:
        superpixels = arrays["superpixels"]
        masks = [np.isin(superpixels, np.asarray(members).ravel()) for members in arrays["labels"].ravel()[:count]]
    elif "maskmat" in arrays:
        masks = [np.asarray(mask) > 0 for mask in arrays["maskmat"].ravel()[:count]]
    else:
        raise ArtefactError(f"{path}: found {', '.join(content)[:200] or 'nothing'}, expected superpixels and labels (MCG) or maskmat (COB)")
    for k, mask in enumerate(masks):
        if mask.shape != size:
            raise ArtefactError(f"{path}: mask {k} has (height, width) {mask.shape}, the picture {size}")
    return np.array(masks, np.bool_).reshape(-1, *size)
