"""How a store file is laid out (no torch).

Layout, format version 1
    attributes   format, stage, settings (JSON), code, crc32 of everything below but data, complete
    image_id     (N,) UTF-8 of one length
    class_offset (N + 1,) int64 into class_id
    class_id     flat uint8: the classes of each image, ascending; 0 is the background map
    {array}/data    flat, the array's dtype, bitshuffle-lz4, then fletcher32 of each chunk
    {array}/offset  (N + 1,) int64 into data
    {array}/shape   (N, D) int32
    {array}/crc32   (N,) uint32 of each image's raw bytes (lz4 alone reveals no flipped bit)

All images of a file share an array's number of dimensions, not its size. bool is stored as uint8 and read back as bool.
Nothing that varies between equal runs is stored.

HDF5 can also point to other files through links, external data and virtual data sets, and can name filters that are
loaded as code. The store uses none of this; `check_layout` refuses it before anything is read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import h5py
import hdf5plugin
import numpy as np

FORMAT = 1
CHUNK = 1 << 16
"""Values in a compressed chunk."""
FILTERS = {"fletcher32": True, **hdf5plugin.Bitshuffle(cname="lz4")}
"""Each compressed chunk has a checksum that is tested first: lz4 may crash the process on a damaged chunk."""
BITSHUFFLE = 32008
FILTERS_USED = (BITSHUFFLE, h5py.h5z.FILTER_FLETCHER32)


def packed(
    *,
    header: Mapping[str, str],
    image_ids: Sequence[str],
    classes: Sequence[np.ndarray],
    arrays: Mapping[str, Sequence[np.ndarray]],
) -> bytes:
    """The content of a store file, made in memory: HDF5 crashes the process if a full disk interrupts its writing.

    Args:
        header: stage, settings (JSON) and code.
        image_ids: N ids.
        classes: (K,) uint8 class ids of each image.
        arrays: By name the array of each image; float16, uint8 or bool.
    """
    with h5py.File("maps.h5", "w", libver=("v110", "v112"), driver="core", backing_store=False) as file:
        file.attrs["format"] = FORMAT
        for name in ("stage", "settings", "code"):
            file.attrs.create(name, _texts([header[name]])[0])
        file["image_id"] = _texts(image_ids)
        file["class_offset"] = _offsets(c.size for c in classes)
        file["class_id"] = _flat(classes, np.dtype(np.uint8))
        for name, planes in sorted(arrays.items()):
            group = file.create_group(name)
            group.attrs["bool"] = planes[0].dtype == np.bool_
            flat = _flat(planes, np.dtype(np.uint8) if planes[0].dtype == np.bool_ else planes[0].dtype)
            chunks = (min(CHUNK, flat.size),) if flat.size else None
            group.create_dataset("data", data=flat, chunks=chunks, **(FILTERS if flat.size else {}))
            group["offset"] = _offsets(a.size for a in planes)
            group["shape"] = np.array([a.shape for a in planes], np.int32)
            group["crc32"] = np.array([zlib.crc32(a.data) for a in planes], np.uint32)
        file.attrs["crc32"] = table_crc(file)
        file.attrs["complete"] = True
        file.flush()
        return bytes(file.id.get_file_image())


def table_crc(file: h5py.File) -> int:
    """CRC-32 of the attributes and of every small table: ids, classes, and each array's offsets, shapes, checksums."""
    texts = [*(file.attrs[k] for k in ("stage", "settings", "code")), *file["image_id"][:]]
    crc = zlib.crc32(repr([bytes(t) for t in texts]).encode())
    for name in ("class_offset", "class_id"):
        crc = zlib.crc32(file[name][:].data, crc)
    for name, group in sorted((n, g) for n, g in file.items() if isinstance(g, h5py.Group)):
        crc = zlib.crc32(f"{name} {group['data'].dtype.str} {bool(group.attrs['bool'])}".encode(), crc)
        for table in ("offset", "shape", "crc32"):
            crc = zlib.crc32(group[table][:].data, crc)
    return crc


def _texts(texts: Sequence[str]) -> np.ndarray:
    """Texts as UTF-8 of one length: HDF5 keeps texts of other lengths in a heap that has no checksum."""
    longest = max((len(t.encode()) for t in texts), default=0)
    return np.array([t.encode() for t in texts], dtype=f"S{longest or 1}")


def _offsets(sizes: Iterable[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(list(sizes))]).astype(np.int64)


def _flat(arrays: Sequence[np.ndarray], dtype: np.dtype) -> np.ndarray:
    return np.concatenate([a.ravel().view(dtype) for a in arrays]) if arrays else np.zeros(0, dtype)


def check_layout(file: h5py.File) -> None:
    """Refuse links, data in other files, and filters other than the store's.

    Args:
        file: Just opened; its data sets are not read.

    Raises:
        ValueError: If it holds one of these, or groups within groups.
    """
    for member in _members(file):
        if isinstance(member, h5py.Dataset):
            _check_dataset(member)
            continue
        for child in _members(member):
            if not isinstance(child, h5py.Dataset):
                raise ValueError(f"{child.name!r} is no data set")
            _check_dataset(child)


def _members(group: h5py.Group) -> Iterator[h5py.Group | h5py.Dataset]:
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name!r} is a link")
        yield group[name]


def _check_dataset(dataset: h5py.Dataset) -> None:
    plan = dataset.id.get_create_plist()
    filters = tuple(plan.get_filter(k)[0] for k in range(plan.get_nfilters()))
    if dataset.is_virtual or dataset.external or filters not in ((), FILTERS_USED):
        raise ValueError(f"{dataset.name!r} is kept in another file or by another filter")
