"""Map files (HDF5) that lead outside themselves, or are no map files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wsss.cli.inspection import describe, unpack
from wsss.files.store import MapWriter
from wsss.files.store_layout import table_crc

from .attempt import Case, each


def good_maps(path: Path) -> Path:
    with MapWriter(path, stage="make_seeds", settings={"a": 1}) as writer:
        for k in range(3):
            writer.write(
                f"image {k}",
                [1, 2],
                mask=np.full((20, 30), k, np.uint8),
                scores=np.full((2, 4, 5), k / 3, np.float16),
                regions=np.ones((2, 8, 8), bool),
            )
    return path


def read_maps(folder: Path) -> None:
    describe(folder / "a.h5")


def unpack_maps(folder: Path) -> None:
    unpack(folder / "a.h5", output=folder.parent / "out" / "maps", kind="png")


def maps(folder: Path, *, content: Callable[[h5py.File], Any]) -> str:
    """A good file, changed, with a checksum that fits: the checksum is no secret."""
    path = good_maps(folder / "a.h5")
    (folder / "other.h5").write_bytes(path.read_bytes())
    os.chdir(folder)
    with h5py.File(path, "r+") as file:
        content(file)
        with contextlib.suppress(KeyError, ValueError, TypeError, AttributeError, OSError):
            file.attrs["crc32"] = table_crc(file)
    return "a.h5"


def replaced(name: str, **how: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **how)

    return change


def put(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(1800,), dtype="u1")
    layout[:] = h5py.VirtualSource("other.h5", "mask/data", shape=(1800,))
    del file["mask/data"]
    file.create_virtual_dataset("mask/data", layout)


ZEROS = {"data": np.zeros(1800, np.uint8), "chunks": (1800,)}
OUTSIDE = "../outside/secret.txt"
MAPS: dict[str, Callable[[h5py.File], Any]] = {
    "ids in another file": replaced("image_id", shape=(3,), dtype="S7", external=[(OUTSIDE, 0, 21)]),
    "maps in another file": replaced("mask/data", shape=(1800,), dtype="u1", external=[(OUTSIDE, 0, 1800)]),
    "a link to another file": put("class_id", h5py.ExternalLink("other.h5", "class_id")),
    "a group behind a link": put("mask", h5py.ExternalLink("other.h5", "mask")),
    "a soft link": put("class_id", h5py.SoftLink("/mask/crc32")),
    "a virtual data set": virtual,
    "maps by another filter": replaced("mask/data", **ZEROS, compression="gzip"),
    "maps by a filter that is loaded": replaced("mask/data", **ZEROS, compression=32001),
    "a group in itself": lambda file: file.__setitem__("mask/again", file["mask"]),
    "more ids than maps": put("image_id", np.array([b"a", b"b", b"c", b"d", b"e"])),
    "offsets beyond the end": put("mask/offset", np.array([0, 10**12, 10**13, 10**14])),
    "shapes of billions": put("mask/shape", np.full((3, 2), 2**31 - 1, np.int32)),
    "another format": lambda file: file.attrs.__setitem__("format", 2),
    "not complete": lambda file: file.attrs.__setitem__("complete", False),
}


def cut(folder: Path, *, content: float) -> str:
    path = good_maps(folder / "a.h5")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * content)])
    return "a.h5"


def no_maps(folder: Path) -> str:
    (folder / "a.h5").write_bytes(b"no maps")
    return "a.h5"


def cases() -> list[Case]:
    """All of them."""
    ids = np.array([b"../../outside/ran", b"/outside/ran", b".."])
    traversal = partial(maps, content=put("image_id", ids))
    return [
        *each("maps", MAPS, maps, read_maps),
        *each("maps", {f"cut to {share}": share for share in (0, 0.3, 0.95)}, cut, read_maps),
        Case(kind="maps", name="ids out of the folder", build=traversal, read=unpack_maps, legal=None),
        Case(kind="maps", name="text", build=no_maps, read=read_maps),
    ]
