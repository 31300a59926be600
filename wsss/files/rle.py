"""Masks as COCO's run lengths: {"size": [H, W], "counts": ...}, counted down the columns (no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from wsss.files.limits import MOST_COORDINATE, MOST_OUTLINE
from wsss.runtime.text import short


def encode(outline: Any, *, size: tuple[int, int]) -> dict[str, Any]:
    """An outline as compressed run lengths.

    Args:
        outline: Polygons, a list of x, y, x, y, ... each; or run lengths, {"size": [H, W], "counts": list or text}.
        size: (H, W) of the image.

    Returns:
        {"size": [H, W], "counts": bytes}.

    Raises:
        ValueError: If it is none of these, or of another size.
    """
    height, width = size
    if isinstance(outline, Mapping):
        if outline.get("size") not in ([height, width], (height, width)):
            raise ValueError(
                f"run lengths of {short(outline.get('size'))}, the image has (height, width) {[height, width]}"
            )
        counts = outline.get("counts")
        if isinstance(counts, str):
            return {"size": [height, width], "counts": _checked(counts, pixels=height * width)}
        if (
            not isinstance(counts, list)
            or not all(isinstance(c, int) and c >= 0 for c in counts)
            or sum(counts) != height * width
        ):
            raise ValueError(
                f"run lengths must be {height * width} pixels altogether, as a list of numbers or COCO's text"
            )
        return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    polygons = outline if isinstance(outline, list) and outline else None
    if polygons is None or not all(
        isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0 and all(isinstance(v, int | float) for v in p)
        for p in polygons
    ):
        raise ValueError(
            f"segmentation is {short(outline)}, expected polygons of at least three x, y pairs, or run lengths"
        )
    for polygon in polygons:
        _check_polygon(polygon)
    return coco_mask.merge(coco_mask.frPyObjects([[float(v) for v in p] for p in polygons], height, width))


def _check_polygon(polygon: list[float]) -> None:
    """Refuse what pycocotools cannot draw: it reserves memory by the length of the outline, and takes NaN and infinity for addresses."""
    if not all(-MOST_COORDINATE <= v <= MOST_COORDINATE for v in polygon):  # false for NaN as well
        raise ValueError(
            f"segmentation {short(polygon)} holds a coordinate that is not within {MOST_COORDINATE:,.0f} px of the image"
        )
    if len(polygon) * (max(polygon) - min(polygon)) <= MOST_OUTLINE:  # the usual case, without counting
        return
    points = np.array(polygon, np.float64).reshape(-1, 2)
    length = np.abs(points - np.roll(points, 1, axis=0)).max(1).sum()
    if length > MOST_OUTLINE:
        raise ValueError(
            f"segmentation {short(polygon)} is an outline of {length:,.0f} px, at most {MOST_OUTLINE:,} are drawn"
        )


def _checked(text: str, *, pixels: int) -> bytes:
    """COCO's compressed counts, proved to be `pixels` altogether: pycocotools reads beyond a text that is cut short, and leaves unset what the runs do not cover.

    Each count is written in groups of 5 bits, the lowest first, as characters from "0": 32 says that another follows, 16 in the last that it is negative; from the fourth count on it is the
    difference to the last but one.
    """
    fault = ValueError(f"run lengths must be {pixels} pixels altogether, as a list of numbers or COCO's text")
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
    """Masks (N, H, W) bool as run lengths that JSON can hold: `counts` is COCO's text."""
    packed = [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    return [{"size": [int(v) for v in p["size"]], "counts": p["counts"].decode()} for p in packed]


def unpack(outlines: Sequence[Any], *, size: tuple[int, int]) -> np.ndarray:
    """Masks of outlines as `encode` takes them.

    Args:
        outlines: N of them.
        size: (H, W) of the image.

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
