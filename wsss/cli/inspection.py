"""`wsss info` and `wsss unpack`: look into a store file without writing code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from wsss.files.atomic import atomic
from wsss.files.errors import ArtefactError
from wsss.files.imaging import save_image, save_mask
from wsss.files.limits import id_fault
from wsss.files.mask_values import IGNORE
from wsss.files.store import MapReader


def describe(path: Path) -> str:
    """What a store file holds, every image read and its checksum tested.

    Args:
        path: A file of the packed store.

    Returns:
        Several lines: stage, settings, images, arrays with shapes and ranges, bytes an image.

    Raises:
        ArtefactError: If the file or an image in it is damaged.
    """
    with MapReader(path) as reader:
        spans: dict[str, list[float]] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        for image_id in reader.image_ids:
            for name, array in reader.read(image_id).arrays.items():
                shapes[name] = array.shape
                span = spans.setdefault(name, [np.inf, -np.inf])
                if array.size:
                    span[:] = [min(span[0], float(array.min())), max(span[1], float(array.max()))]
        size = path.stat().st_size
        lines = [
            f"{path}: stage {reader.stage}, {len(reader)} images, {size / 1e6:.2f} MB ({size / max(len(reader), 1) / 1024:.1f} KiB an image), all checksums match"
        ]
        lines += [
            f"  {name}: e.g. {shapes[name]}, values {span[0]:.4g} to {span[1]:.4g}"
            for name, span in sorted(spans.items())
        ]
        lines.append("  settings: " + json.dumps(reader.settings, sort_keys=True))
    return "\n".join(lines)


def unpack(path: Path, *, output: Path, kind: str) -> int:
    """Write every map of a store file as its own file.

    Args:
        path: A file of the packed store.
        output: Folder; made if absent.
        kind: "png" (masks in the palette of VOC; maps scaled to 0..255 by their own maximum, one image a class) or "npy" (the stored arrays).

    Returns:
        The number of files written.

    Raises:
        ArtefactError: If the file or an image in it is damaged, or an image's id cannot name a file.
    """
    written = 0
    with MapReader(path) as reader:
        for image_id in reader.image_ids:
            if wrong := id_fault(image_id.replace("/", "__")):
                raise ArtefactError(f"{path}: {wrong}")
        output.mkdir(parents=True, exist_ok=True)
        for image_id in reader.image_ids:
            record = reader.read(image_id)
            for name, array in record.arrays.items():
                stem = f"{image_id.replace('/', '__')}.{name}"
                if kind == "npy":
                    with atomic(output / f"{stem}.npy", flushed=False) as temporary, temporary.open("wb") as file:
                        np.save(file, array, allow_pickle=False)
                    written += 1
                    continue
                planes = (
                    [(stem, array)]
                    if array.ndim == 2
                    else [(f"{stem}.class-{c}", plane) for c, plane in zip(record.class_ids, array, strict=True)]
                )
                for plane_stem, plane in planes:
                    if name == "mask":
                        save_mask(output / f"{plane_stem}.png", plane)
                    else:
                        save_image(output / f"{plane_stem}.png", Image.fromarray(_image(plane)))
                    written += 1
    return written


def _image(plane: np.ndarray) -> np.ndarray:
    """(H, W) uint8 image of one map: 8-bit maps as they are, regions as 0 and 255, scores over their maximum."""
    if plane.dtype == np.uint8:
        return plane
    top = float(plane.max(initial=0))
    return np.clip(plane.astype(np.float32) * (IGNORE / top if top > 0 else 0), 0, IGNORE).astype(np.uint8)
