"""Map files (HDF5) from another hand."""

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
from wsss.files.store import MapWriter, _table_crc

from .attempt import Case


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


def maps(folder: Path, *, change: Callable[[h5py.File], Any]) -> str:
    """A good file, changed, with a checksum that fits what it says now: the checksum is no secret."""
    path = good_maps(folder / "a.h5")
    (folder / "other.h5").write_bytes(path.read_bytes())
    os.chdir(folder)
    with h5py.File(path, "r+") as file:
        change(file)
        if file["image_id"].nbytes < 1 << 20:  # else the checksum could not be had without reading what is claimed
            with contextlib.suppress(KeyError, ValueError, TypeError, AttributeError, OSError):
                file.attrs["crc32"] = _table_crc(file)
    return "a.h5"


def replace(file: h5py.File, name: str, **how: Any) -> None:
    del file[name]
    file.create_dataset(name, **how)


def put(file: h5py.File, name: str, value: Any) -> None:
    del file[name]
    file[name] = value


def resized(file: h5py.File, count: int) -> None:
    """An image of `count` pixels of which none is stored; reading it would fill them with 0."""
    replace(file, "mask/data", shape=(count,), dtype="u1", chunks=(1 << 16,))
    put(file, "mask/offset", np.array([0, count, count, count]))
    put(file, "mask/shape", np.array([[count // 30_000, 30_000], [0, 0], [0, 0]], np.int32))


def compressed(file: h5py.File, *, filter_id: Any, count: int = 1800) -> None:
    replace(file, "mask/data", data=np.zeros(count, np.uint8), chunks=(count,), compression=filter_id)


def attribute(file: h5py.File, name: str, value: Any) -> None:
    del file.attrs[name]
    file.attrs[name] = value


MAPS: dict[str, Callable[[h5py.File], Any]] = {
    "ids in another file": lambda f: replace(f, "image_id", shape=(3,), dtype="S7", external=[("../outside/secret.txt", 0, 21)]),
    "maps in another file": lambda f: replace(f, "mask/data", shape=(1800,), dtype="u1", external=[("../outside/secret.txt", 0, 1800)]),
    "a link to another file": lambda f: (f.__delitem__("class_id"), f.__setitem__("class_id", h5py.ExternalLink("other.h5", "class_id"))),
    "a group behind a link": lambda f: (f.__delitem__("mask"), f.__setitem__("mask", h5py.ExternalLink("other.h5", "mask"))),
    "a soft link": lambda f: (f.__delitem__("class_id"), f.__setitem__("class_id", h5py.SoftLink("/mask/crc32"))),
    "a link to nothing": lambda f: (f.__delitem__("class_id"), f.__setitem__("class_id", h5py.SoftLink("/none"))),
    "a virtual data set": lambda f: virtual(f),
    "3 billion pixels, none stored": lambda f: resized(f, 3_000_000_000),
    "1 billion ids, none stored": lambda f: replace(f, "image_id", shape=(1_000_000_000,), dtype="S8", chunks=(1 << 16,)),
    "10^15 ids, none stored": lambda f: replace(f, "image_id", shape=(10**15,), dtype="S8", chunks=(1 << 16,)),
    "an id of 2 GB": lambda f: replace(f, "image_id", shape=(1,), dtype="S2000000000"),
    "maps by another filter": lambda f: compressed(f, filter_id="gzip"),
    "maps by a filter that is loaded": lambda f: compressed(f, filter_id=32001),
    "a bomb of 100 MB": lambda f: replace(f, "mask/data", data=np.zeros(100_000_000, np.uint8), chunks=(100_000_000,), compression="gzip"),
    "ids of any length": lambda f: put(f, "image_id", np.array(["a", "b", "c"], dtype=h5py.string_dtype())),
    "ids that are numbers": lambda f: put(f, "image_id", np.arange(3)),
    "ids that are references": lambda f: put(f, "image_id", np.array([f.ref] * 3, dtype=h5py.ref_dtype)),
    "ids that are structures": lambda f: put(f, "image_id", np.zeros(3, [("a", "S4"), ("b", "i4")])),
    "fewer ids than maps": lambda f: put(f, "image_id", np.array([b"a"])),
    "more ids than maps": lambda f: put(f, "image_id", np.array([b"a", b"b", b"c", b"d", b"e"])),
    "too few checksums": lambda f: put(f, "mask/crc32", np.zeros(1, np.uint32)),
    "too few shapes": lambda f: put(f, "mask/shape", np.zeros((1, 2), np.int32)),
    "offsets below 0": lambda f: put(f, "mask/offset", np.array([-600, 0, 600, 1200])),
    "offsets beyond the end": lambda f: put(f, "mask/offset", np.array([0, 10**12, 10**13, 10**14])),
    "offsets backwards": lambda f: put(f, "mask/offset", np.array([1800, 1200, 600, 0])),
    "shapes below 0": lambda f: put(f, "mask/shape", np.full((3, 2), -5, np.int32)),
    "shapes of billions": lambda f: put(f, "mask/shape", np.full((3, 2), 2**31 - 1, np.int32)),
    "shapes of 200 axes": lambda f: put(f, "mask/shape", np.ones((3, 200), np.int32)),
    "floating-point offsets": lambda f: put(f, "mask/offset", np.array([0.0, 600, 1200, 1800])),
    "maps of 64 bits": lambda f: put(f, "mask/data", np.zeros(1800)),
    "maps of texts": lambda f: put(f, "mask/data", np.zeros(1800, "S3")),
    "maps of two axes": lambda f: put(f, "mask/data", np.zeros((30, 60), np.uint8)),
    "a data set for a group": lambda f: put(f, "mask", np.zeros(3)),
    "a group for a data set": lambda f: (f.__delitem__("mask/data"), f.create_group("mask/data")),
    "a group in itself": lambda f: f.__setitem__("mask/again", f["mask"]),
    "the root in a group": lambda f: f.__setitem__("scores/root", f["/"]),
    "no groups of classes": lambda f: f.__delitem__("class_offset"),
    "settings of a million brackets": lambda f: attribute(f, "settings", np.bytes_("[" * 60_000)),
    "settings of any length": lambda f: attribute(f, "settings", "{}"),
    "settings that are numbers": lambda f: attribute(f, "settings", np.arange(5)),
    "a format of many numbers": lambda f: attribute(f, "format", np.arange(5)),
    "a format that is a text": lambda f: attribute(f, "format", np.bytes_("1")),
    "complete of many": lambda f: attribute(f, "complete", np.ones(5)),
    "another format": lambda f: attribute(f, "format", 2),
    "not complete": lambda f: attribute(f, "complete", False),
    "a truth that is a text": lambda f: (f["mask"].attrs.__delitem__("bool"), f["mask"].attrs.__setitem__("bool", "yes")),
}  # fmt: skip


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(1800,), dtype="u1")
    layout[:] = h5py.VirtualSource("other.h5", "mask/data", shape=(1800,))
    del file["mask/data"]
    file.create_virtual_dataset("mask/data", layout)


def traversal(file: h5py.File) -> None:
    put(file, "image_id", np.array([b"../../outside/ran", b"/outside/ran", b".."]))


def cut(folder: Path, *, keep: float) -> str:
    path = good_maps(folder / "a.h5")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    return "a.h5"


def sparse_file(folder: Path) -> str:
    path = good_maps(folder / "a.h5")
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    return "a.h5"


def no_maps(folder: Path) -> str:
    (folder / "a.h5").write_bytes(b"no maps")
    return "a.h5"


def cases() -> list[Case]:
    """All of them."""
    out = [
        Case(kind="maps", name=name, build=partial(maps, change=change), read=read_maps)
        for name, change in MAPS.items()
    ]
    out.append(
        Case(
            kind="maps",
            name="ids out of the folder",
            build=partial(maps, change=traversal),
            read=unpack_maps,
            legal=None,
        )
    )
    out += [
        Case(kind="maps", name=f"cut to {keep}", build=partial(cut, keep=keep), read=read_maps)
        for keep in (0, 0.01, 0.3, 0.6, 0.95)
    ]
    out.append(Case(kind="maps", name="1 TB with nothing in it", build=sparse_file, read=read_maps, legal=None))
    out.append(Case(kind="maps", name="text", build=no_maps, read=read_maps))
    return out
