"""Masks as COCO's run lengths: {"size": [H, W], "counts": ...}, counted down the columns. Pure (no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from wsss.files.limits import MOST_COORDINATE
from wsss.runtime.text import short


def encode(outline: Any, *, size: tuple[int, int]) -> dict[str, Any]:
    """Turn an outline into compressed run lengths.

    Args:
        outline: A list of polygons, each a list x, y, x, y, ...; or run lengths, {"size": [H, W], "counts": list or
            text}.
        size: (H, W) of the image.

    Returns:
        {"size": [H, W], "counts": bytes}.

    Raises:
        ValueError: If it is none of these, or has another size.
    """
    height, width = size
    if isinstance(outline, Mapping):
        if outline.get("size") not in ([height, width], (height, width)):
            size_text = short(outline.get("size"))
            raise ValueError(f"run lengths of {size_text}, the image has (height, width) {[height, width]}")
        counts = outline.get("counts")
        if isinstance(counts, str):
            return {"size": [height, width], "counts": _checked(counts, pixels=height * width)}
        if not isinstance(counts, list) or not all(isinstance(c, int) and c >= 0 for c in counts):
            raise _wrong_sum(height * width)
        if sum(counts) != height * width:
            raise _wrong_sum(height * width)
        return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    if not isinstance(outline, list) or not outline or not all(map(_is_polygon, outline)):
        expected = "polygons of at least three x, y pairs, or run lengths"
        raise ValueError(f"segmentation is {short(outline)}, expected {expected}")
    for polygon in outline:
        # pycocotools crashes on NaN and infinity, for which the comparison is false, too
        if not all(-MOST_COORDINATE <= v <= MOST_COORDINATE for v in polygon):
            limit = f"{MOST_COORDINATE:,.0f} px of the image"
            raise ValueError(f"segmentation {short(polygon)} holds a coordinate that is not within {limit}")
    return coco_mask.merge(coco_mask.frPyObjects([[float(v) for v in p] for p in outline], height, width))


def _wrong_sum(pixels: int) -> ValueError:
    return ValueError(f"run lengths must be {pixels} pixels altogether, as a list of numbers or COCO's text")


def _is_polygon(value: Any) -> bool:
    if not isinstance(value, list) or len(value) < 6 or len(value) % 2:
        return False
    return all(isinstance(v, int | float) for v in value)


def _checked(text: str, *, pixels: int) -> bytes:
    """Check that COCO's compressed counts cover `pixels` altogether, and return them as bytes.

    pycocotools reads beyond a text that is cut short, and leaves pixels unset that the runs do not cover.
    Each count is written in groups of 5 bits, the lowest first, as characters from "0" on. Bit 32 marks that another
    group follows; bit 16 of the last group marks a negative count. From the fourth count on, each is stored as the
    difference to the last but one.

    Raises:
        ValueError: If they do not.
    """
    fault = _wrong_sum(pixels)
    groups = np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if not groups.size or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise fault
    ends = np.flatnonzero(groups & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 6:
        raise fault
    place = np.arange(groups.size) - np.repeat(starts, ends - starts + 1)
    counts = np.add.reduceat((groups & 31) << (5 * place), starts)
    counts -= np.where(groups[ends] & 16, np.int64(1) << (5 * (ends - starts + 1)), 0)
    for first in (1, 2):
        counts[first::2] = np.cumsum(counts[first::2])
    if counts.min() < 0 or counts.sum() != pixels:
        raise fault
    return text.encode()


def pack(masks: np.ndarray) -> list[dict[str, Any]]:
    """Turn masks (N, H, W) bool into run lengths that JSON can hold: `counts` is COCO's text."""
    packed = [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    return [{"size": [int(v) for v in p["size"]], "counts": p["counts"].decode()} for p in packed]


def unpack(outlines: Sequence[Any], *, size: tuple[int, int]) -> np.ndarray:
    """Draw outlines as masks.

    Args:
        outlines: N outlines as `encode` takes them.
        size: (H, W) of the image.

    Returns:
        (N, H, W) bool.

    Raises:
        ValueError: If one is no outline, or has another size; the message names its number.
    """
    masks = np.zeros((len(outlines), *size), np.bool_)
    for k, outline in enumerate(outlines):
        try:
            masks[k] = coco_mask.decode(encode(outline, size=size))
        except ValueError as error:
            raise ValueError(f"mask {k}: {error}") from None
    return masks
