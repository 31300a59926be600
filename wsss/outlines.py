"""Masks as COCO's run lengths: {"size": [H, W], "counts": ...}, counted down the columns (no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask


def encode(outline: Any, *, size: tuple[int, int]) -> dict[str, Any]:
    """An outline as compressed run lengths.

    Args:
        outline: Polygons, a list of x, y, x, y, ... each; or run lengths, {"size": [H, W], "counts": list or text}.
        size: (H, W) of the picture.

    Returns:
        {"size": [H, W], "counts": bytes}.

    Raises:
        ValueError: If it is none of these, or of another size.
    """
    height, width = size
    if isinstance(outline, Mapping):
        if list(outline.get("size", [])) != [height, width]:
            raise ValueError(f"run lengths of {outline.get('size')}, the picture has (height, width) {[height, width]}")
        counts = outline.get("counts")
        if isinstance(counts, str):
            return {"size": [height, width], "counts": counts.encode()}
        if not isinstance(counts, list) or not all(isinstance(c, int) and c >= 0 for c in counts) or sum(counts) != height * width:
            raise ValueError(f"run lengths must be {height * width} pixels altogether, as a list of numbers or COCO's text")
        return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    polygons = outline if isinstance(outline, list) and outline else None
    if polygons is None or not all(isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0 and all(isinstance(v, int | float) for v in p) for p in polygons):
        raise ValueError(f"segmentation is {short(outline)}, expected polygons of at least three x, y pairs, or run lengths")
    return coco_mask.merge(coco_mask.frPyObjects([[float(v) for v in p] for p in polygons], height, width))


def short(value: Any) -> str:
    """A value as messages quote it: at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def pack(masks: np.ndarray) -> list[dict[str, Any]]:
    """Masks (N, H, W) bool as run lengths that JSON can hold: `counts` is COCO's text."""
    packed = [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    return [{"size": [int(v) for v in p["size"]], "counts": p["counts"].decode()} for p in packed]


def unpack(outlines: Sequence[Any], *, size: tuple[int, int]) -> np.ndarray:
    """Masks of outlines as `encode` takes them.

    Args:
        outlines: N of them.
        size: (H, W) of the picture.

    Returns:
        (N, H, W) bool.

    Raises:
        ValueError: If one is no outline, or of another size; names its number.
    """
    masks = np.zeros((len(outlines), *size), np.bool_)
    for k, outline in enumerate(outlines):
        try:
            masks[k] = coco_mask.decode(encode(outline, size=size))
        except ValueError as error:
            raise ValueError(f"mask {k}: {error}") from None
    return masks
