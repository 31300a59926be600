"""What is checked of a data set's images and masks: each is decoded once (no torch of its own)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.files.imaging import read_image, read_mask
from wsss.files.mask_values import IGNORE
from wsss.runtime.console import progress
from wsss.stages.dataset.faults import Faults, Text
from wsss.stages.dataset.source import SourceRow

TURNED = "(height x width, after EXIF rotation)"


@dataclass(frozen=True, kw_only=True)
class CheckedImage:
    """What the check of one image found.

    Attributes:
        size: (height, width) in px after EXIF rotation; (0, 0) if unreadable.
        sum_rgb: (3,) int64 sum of the pixels' grey levels.
        content: Digest of the image and its masks as decoded, 16 hexadecimal digits.
        faults: (kind, text) of everything wrong with it and its masks.
    """

    size: tuple[int, int]
    sum_rgb: np.ndarray
    content: str
    faults: tuple[tuple[str, Text], ...]


def check_images(rows: list[SourceRow], faults: Faults, *, num_classes: int) -> list[CheckedImage]:
    """Decode every image and mask, a few at a time.

    Args:
        rows: All images.
        faults: Receives what is wrong.
        num_classes: C; masks may hold 0..C and 255.

    Returns:
        One entry a row, in order.
    """
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))  # decoding releases the interpreter's lock
    try:
        found = pool.map(lambda row: check_image(row, num_classes=num_classes), rows)
        images = list(progress(found, what="checking images", total=len(rows)))
    finally:
        pool.shutdown(cancel_futures=True)
    for checked in images:
        for kind, text in checked.faults:
            faults.add(kind, text)
    return images


def check_image(row: SourceRow, *, num_classes: int) -> CheckedImage:
    """Decode one image and its masks.

    Args:
        row: The image.
        num_classes: C.

    Returns:
        Its size, colour sum, digest and faults.
    """
    faults: list[tuple[str, Text]] = []
    image = _decode(row, "image", row.image, read_image, faults)  # (H, W, 3)
    if image is None:
        return _unusable((0, 0), faults)
    size = (image.shape[0], image.shape[1])
    if row.size and row.size != size:  # its truth was drawn in that size, so there is nothing more to say
        text = (
            f"{row.where}: says {_by(row.size)}, its image {row.image} is {_by(size)} {TURNED}; "
            "correct its height and width"
        )
        return _unusable(size, [("size", text)])
    digest = hashlib.blake2b(image.tobytes(), digest_size=8)
    for kind, path in (("mask", row.mask), ("instances", row.instances), ("context", row.context)):
        mask = _decode(row, kind, path, read_mask, faults) if path else None  # (H, W)
        if mask is None:
            continue
        digest.update(kind.encode() + mask.tobytes())
        if mask.shape != size:
            text = f"{row.where}: {kind} {path} is {_by(mask.shape)}, its image {_by(size)} {TURNED}; they must agree"
            faults.append((kind, text))
        if kind == "mask" and (illegal := _illegal(mask, num_classes)):
            legal = f"0..{num_classes} and {IGNORE} (ignore), as palette or 8-bit grey PNG"
            faults.append((kind, f"{row.where}: mask {path} holds {illegal}; legal are {legal}"))
    total = image.sum(axis=0, dtype=np.int64).sum(axis=0)
    return CheckedImage(size=size, sum_rgb=total, content=digest.hexdigest(), faults=tuple(faults))


def _unusable(size: tuple[int, int], faults: list[tuple[str, Text]]) -> CheckedImage:
    return CheckedImage(size=size, sum_rgb=np.zeros(3, np.int64), content="", faults=tuple(faults))


def _illegal(mask: np.ndarray, num_classes: int) -> str:
    """The first five values of a mask that are no class and not IGNORE, as text; "" if there are none."""
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    found = [int(v) for v in values if v > num_classes and v != IGNORE]
    return ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")


def _decode(
    row: SourceRow, kind: str, path: Path, read: Callable[[Path], np.ndarray], faults: list[tuple[str, Text]]
) -> np.ndarray | None:
    """The array of one file, or None and a fault."""
    try:
        if path.stat().st_size == 0:
            advice = "copy it again or leave the image out"
            faults.append((kind, f"{row.where}: {kind} {path} is empty (0 bytes); {advice}"))
            return None
        return read(path)
    except FileNotFoundError:
        faults.append((kind, lambda: f"{row.where}: {kind} {path} does not exist{_similar_file(path)}"))
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        faults.append((kind, f"{row.where}: {kind} {path} cannot be read: {reason}"))
    return None


def _similar_file(path: Path) -> str:
    """A hint at a file of the same name in other capitals or with another suffix, the most frequent mistake."""
    if "\\" in path.name:
        return "; separate folders with '/'"
    try:
        names = [p.name for p in path.parent.iterdir() if p.stem.casefold() == path.stem.casefold()]
    except OSError:
        return f"; there is no folder {path.parent}"
    return f"; did you mean {min(names)!r}?" if names else ""


def _by(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
