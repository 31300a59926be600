"""Whether an HDF5 file is laid out as the store writes it, found out before anything in it is read (no torch).

HDF5 can point elsewhere: at other files through links, external data and virtual data sets. It can name filters that are loaded as code, claim any size, and keep texts in a heap that a flipped bit
turns into a circle. The store uses none of this, so none of it is followed.
"""

from __future__ import annotations

import h5py
import numpy as np

from wsss.files.limits import MOST_RATIO

BITSHUFFLE = 32008
FILTERS_USED = (BITSHUFFLE, h5py.h5z.FILTER_FLETCHER32)
TEXTS = ("stage", "settings", "code")
NUMBERS = ("format", "crc32", "complete")
TABLES = {"image_id": "S", "class_offset": "i8", "class_id": "u1"}
ARRAY_TABLES = {"data": "", "offset": "i8", "shape": "i4", "crc32": "u4"}
DATA_TYPES = ("f2", "u1")


def check_layout(file: h5py.File) -> None:
    """Refuse what the store does not write.

    Args:
        file: Just opened; its data sets are not read.

    Raises:
        ValueError: If anything in it leads outside it, is of another type or shape than the store's, or claims more than its bytes can hold.
        KeyError: If something is missing.
    """
    for name in (*TEXTS, *NUMBERS):
        attribute = h5py.h5a.open(file.id, name.encode())
        kind = attribute.get_type()
        if (
            attribute.shape != ()
            or (name in TEXTS) != isinstance(kind, h5py.h5t.TypeStringID)
            or (name in TEXTS and kind.is_variable_str())
        ):
            raise ValueError(f"attribute {name} is none of the store's")
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name!r} is a link")
        if file.get(name, getclass=True) is h5py.Group:
            _check_array(file[name])
        elif name not in TABLES:
            raise ValueError(f"{name!r} is none of the store's")
    for name, kind in TABLES.items():
        _check_table(file, name, kind)
    count = file["image_id"].shape[0]
    if file["class_offset"].shape != (count + 1,):
        raise ValueError(f"{count} ids, {file['class_offset'].shape[0]} places in the list of classes")
    for group in (file[name] for name in file if file.get(name, getclass=True) is h5py.Group):
        if (
            group["offset"].shape != (count + 1,)
            or group["crc32"].shape != (count,)
            or group["shape"].shape[0] != count
        ):
            raise ValueError(f"{count} ids, other numbers of places in the array {group.name!r}")


def _check_array(group: h5py.Group) -> None:
    if set(group) != set(ARRAY_TABLES):
        raise ValueError(f"array {group.name!r} holds {sorted(group)[:6]}")
    truth = h5py.h5a.open(group.id, b"bool")
    if truth.shape != () or truth.get_type().get_class() not in (h5py.h5t.ENUM, h5py.h5t.INTEGER):
        raise ValueError(f"attribute bool of {group.name!r} is none of the store's")
    for name, kind in ARRAY_TABLES.items():
        _check_table(group, name, kind)


def _check_table(group: h5py.Group, name: str, kind: str) -> None:
    """One data set: of the right type, in this file, and no larger than its bytes can hold."""
    if (
        not isinstance(group.get(name, getlink=True), h5py.HardLink)
        or group.get(name, getclass=True) is not h5py.Dataset
    ):
        raise ValueError(f"{name!r} is no data set")
    dataset = group[name]
    plan = dataset.id.get_create_plist()
    filters = tuple(plan.get_filter(k)[0] for k in range(plan.get_nfilters()))
    if dataset.is_virtual or dataset.external or filters not in (((),) if kind else ((), FILTERS_USED)):
        raise ValueError(f"{name!r} is kept in another file or by another filter")
    if dataset.ndim != (2 if name == "shape" else 1) or not _is(dataset.dtype, kind):
        raise ValueError(f"{name!r} is {dataset.ndim}-D {dataset.dtype}")
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > (stored * MOST_RATIO if filters else stored):
        raise ValueError(f"{name!r} claims {dataset.nbytes:,} bytes, {stored:,} are stored")


def _is(dtype: np.dtype, kind: str) -> bool:
    if kind == "S":
        return dtype.kind == "S"
    return any(dtype == np.dtype(k) for k in ((kind,) if kind else DATA_TYPES))
