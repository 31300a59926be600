"""The packed HDF5 store: one file per (stage, shard), written once, checked on reading (no torch).

Layout, format version 1
    attributes  format, stage, settings (JSON), code, crc32 of everything below but data, complete
    image_id    (N,) UTF-8 of one length
    class_offset (N + 1,) int64, class_id flat uint8: the classes of each image, ascending; 0 is the background map
    {array}/data    flat, the array's dtype, bitshuffle-lz4, then fletcher32 a chunk
    {array}/offset  (N + 1,) int64 into data
    {array}/shape   (N, D) int32
    {array}/crc32   (N,) uint32 of each image's raw bytes (lz4 reveals no flipped bit by itself)

Arrays of a file share one number of dimensions each, not one size. bool is stored as uint8 and read back as bool. Nothing that varies between equal runs is stored.
"""

from __future__ import annotations

import itertools
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from wsss.files.atomic import atomic
from wsss.files.errors import ArtefactError
from wsss.files.store_layout import check_layout
from wsss.runtime.out_of_memory import is_out_of_memory

FORMAT = 1
CHUNK = 1 << 16
FILTERS = {"fletcher32": True, **hdf5plugin.Bitshuffle(cname="lz4")}
"""Compressed chunks carry a checksum that is tested before they are decompressed: bitshuffle's lz4 may crash the process on damaged ones."""
DAMAGE = (
    OSError,
    KeyError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
)
"""What h5py raises on damaged files, by where the damage is."""


@dataclass(frozen=True, kw_only=True)
class MapRecord:
    """The maps of one image: `class_ids` (K,) uint8 and the named arrays."""

    image_id: str
    class_ids: np.ndarray
    arrays: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]


class MapWriter:
    """Writes one store file: `with MapWriter(path, stage="extract_scores", settings={}) as w: w.write(...)`.

    The file appears under its name only when the block ends without an error. A file of no image is legal (an empty shard).
    """

    def __init__(self, path: Path, *, stage: str, settings: Mapping[str, Any], code: str = "") -> None:
        """Remember what is written; nothing touches the disk yet.

        Args:
            path: Final name.
            stage: Stage that makes the file, e.g. "extract_scores".
            settings: The stage's settings; JSON-serialisable.
            code: Digest of the stage's code.
        """
        self.path, self.stage, self.settings, self.code = path, stage, dict(settings), code
        self._ids, self._classes, self._arrays = dict[str, None](), list[np.ndarray](), dict[str, list[np.ndarray]]()

    def write(self, image_id: str, class_ids: Sequence[int] | np.ndarray, **arrays: np.ndarray) -> None:
        """Add one image, whole or not at all; every image of a file has the same array names, dtypes and numbers of dimensions.

        Args:
            image_id: Key, unique in the file.
            class_ids: (K,) classes in 0..255, ascending; the first axis of 3-D arrays. For masks the image's classes.
            **arrays: Named arrays: float16, uint8 or bool.

        Raises:
            ValueError: For a repeated id, classes that do not ascend or do not fit, other arrays than before, a dtype not stored, or non-finite values.
        """
        ids = np.asarray(class_ids, np.int64).reshape(-1)
        if (np.diff(ids, prepend=-1) <= 0).any() or (ids > 255).any():
            raise ValueError(
                f"{self.path}: image {image_id} has the classes {ids.tolist()}, expected ascending ids in 0..255"
            )
        if image_id in self._ids:
            raise ValueError(f"{self.path}: image {image_id} written twice")
        if self._ids and set(arrays) != set(self._arrays):
            raise ValueError(
                f"{self.path}: image {image_id} has arrays {sorted(arrays)}, expected {sorted(self._arrays)}"
            )
        for name, array in arrays.items():
            if array.dtype not in (np.float16, np.uint8, np.bool_):
                raise ValueError(f"{self.path}: array {name} has dtype {array.dtype}, expected float16, uint8 or bool")
            if array.dtype == np.float16 and not np.isfinite(array).all():
                raise ValueError(f"{self.path}: image {image_id}: {name} holds NaN or infinity; check the training log")
            if array.ndim == 3 and len(array) != len(ids):
                raise ValueError(f"{self.path}: image {image_id}: {name} has {len(array)} maps for {len(ids)} classes")
            first = self._arrays[name][0] if self._ids else array
            if (first.ndim, first.dtype) != (array.ndim, array.dtype):
                raise ValueError(
                    f"{self.path}: image {image_id}: {name} is {array.ndim}-D {array.dtype}, expected {first.ndim}-D {first.dtype}"
                )
        for name, array in arrays.items():
            self._arrays.setdefault(name, []).append(np.array(array, order="C"))
        self._ids[image_id] = None
        self._classes.append(ids.astype(np.uint8))

    def __enter__(self) -> MapWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            content = self._packed()
            with atomic(self.path) as temporary:
                temporary.write_bytes(content)
                with MapReader(temporary) as check:
                    if check.image_ids != list(self._ids):
                        raise ArtefactError(
                            f"{self.path}: the written file does not read back; check the disk and rerun"
                        )
                    for image_id in check.image_ids:
                        check.read(image_id)

    def _packed(self) -> bytes:
        """The file's content, made in memory: where a disk is full, HDF5 crashes the process when it closes what it could not write."""
        with h5py.File("maps.h5", "w", libver=("v110", "v112"), driver="core", backing_store=False) as file:
            file.attrs["format"] = FORMAT
            for name, text in (
                ("stage", self.stage),
                ("settings", json.dumps(self.settings, sort_keys=True)),
                ("code", self.code),
            ):
                file.attrs.create(name, _texts([text])[0])
            file["image_id"] = _texts(list(self._ids))
            file["class_offset"] = _offsets(c.size for c in self._classes)
            file["class_id"] = _flat(self._classes, np.dtype(np.uint8))
            for name, arrays in sorted(self._arrays.items()):
                group = file.create_group(name)
                group.attrs["bool"] = arrays[0].dtype == np.bool_
                flat = _flat(arrays, np.dtype(np.uint8) if arrays[0].dtype == np.bool_ else arrays[0].dtype)
                chunks = (min(CHUNK, flat.size),) if flat.size else None
                group.create_dataset("data", data=flat, chunks=chunks, **(FILTERS if flat.size else {}))
                group["offset"] = _offsets(a.size for a in arrays)
                group["shape"] = np.array([a.shape for a in arrays], np.int32)
                group["crc32"] = np.array([zlib.crc32(a.data) for a in arrays], np.uint32)
            file.attrs["crc32"] = _table_crc(file)
            file.attrs["complete"] = True
            file.flush()
            return bytes(file.id.get_file_image())


class MapReader:
    """Reads one store file; opened lazily and once per process, so that it may be handed to loader processes."""

    def __init__(self, path: Path) -> None:
        """Read ids, classes and shapes of the file; maps are read on demand.

        Raises:
            ArtefactError: If the file is missing, damaged, incomplete or of another format.
        """
        self.path = path
        self._file: h5py.File | None = None  # of process _pid, with its open data
        self._pid, self._data = -1, dict[str, h5py.Dataset]()
        try:
            with h5py.File(path, "r", locking="best-effort") as file:
                self._load(file)
        except FileNotFoundError:
            raise ArtefactError(f"{path}: no such file; run the workflow up to the stage that makes it") from None
        except DAMAGE as error:
            what = (
                "a folder"
                if path.is_dir()
                else f"no store file of this package, or a damaged one ({str(error).splitlines()[0]})"
            )
            ours = ".h5" in path.suffixes and path.is_file()  # nobody is told to delete what is no file of ours
            advice = (
                "`snakemake FILE --forcerun FILE` makes a damaged one of a run anew"
                if ours
                else "expected a run's .h5 file"
            )
            unread = ArtefactError(f"{path}: {what}; {advice}")
            raise (error if isinstance(error, ArtefactError) else unread) from None

    def _load(self, file: h5py.File) -> None:
        found = None
        if {"complete", "format"} <= set(file.attrs):
            check_layout(file)
            found = file.attrs["format"]
        if found != FORMAT or not file.attrs["complete"]:
            raise ArtefactError(
                f"{self.path}: incomplete or of another format (found {found}, expected {FORMAT}); delete it and rerun"
            )
        if file.attrs["crc32"] != _table_crc(file):
            raise ArtefactError(
                f"{self.path}: ids, classes or shapes do not match their checksum (damaged on disk); delete it and rerun"
            )
        self.stage, settings, self.code = (file.attrs[k].decode() for k in ("stage", "settings", "code"))
        self.settings: dict[str, Any] = json.loads(settings)
        self.image_ids: list[str] = [i.decode() for i in file["image_id"][:]]
        self._position = {i: k for k, i in enumerate(self.image_ids)}
        offset, classes = file["class_offset"][:], file["class_id"][:]
        self._classes = [classes[a:b] for a, b in itertools.pairwise(offset)]
        self._meta = {
            name: (g["offset"][:], g["shape"][:], g["crc32"][:], bool(g.attrs["bool"]))
            for name, g in file.items()
            if isinstance(g, h5py.Group)
        }

    @property
    def array_names(self) -> list[str]:
        """Names of the arrays stored for each image."""
        return list(self._meta)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._position

    def read(self, image_id: str, *names: str) -> MapRecord:
        """The maps of one image, checked against their checksums.

        Args:
            image_id: Key.
            *names: Arrays to read; all when none is named.

        Returns:
            New arrays; writing to them changes nothing else.

        Raises:
            ArtefactError: If the image or an array is absent, or its bytes do not match their checksum.
        """
        if image_id not in self._position:
            raise ArtefactError(f"{self.path}: image {image_id} is not in this file; delete it and rerun")
        k = self._position[image_id]
        arrays = {}
        for name in names or self._meta:
            if name not in self._meta:
                raise ArtefactError(
                    f"{self.path}: no array {name!r}, found {', '.join(self._meta) or 'none'} (of {self.stage}); give a file of another stage"
                )
            offset, shape, crc, boolean = self._meta[name]
            try:
                array = self._open(name)[offset[k] : offset[k + 1]].reshape(shape[k])
            except DAMAGE as error:
                if is_out_of_memory(error):
                    raise
                raise ArtefactError(
                    f"{self.path}: image {image_id}: {name} cannot be read ({error}); delete the file and rerun"
                ) from None
            if zlib.crc32(array.data) != crc[k]:
                raise ArtefactError(
                    f"{self.path}: image {image_id}: {name} does not match its checksum (damaged on disk); delete the file and rerun"
                )
            arrays[name] = array.view(np.bool_) if boolean else array
        return MapRecord(image_id=image_id, class_ids=self._classes[k].copy(), arrays=arrays)

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file, self._data = None, {}

    def __enter__(self) -> MapReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_data": {}, "_pid": -1}

    def _open(self, name: str) -> h5py.Dataset:
        """The array's flat data; kept open in this process, because its decompressed chunks are cached with it."""
        if self._file is None or self._pid != os.getpid():
            self._file, self._data, self._pid = h5py.File(self.path, "r", locking="best-effort"), {}, os.getpid()
        if name not in self._data:
            self._data[name] = self._file[f"{name}/data"]
        return self._data[name]


class MapSet:
    """The shards of one artefact as one: `MapSet(paths).read(image_id)`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Read ids, classes and shapes of every shard in `paths`.

        Raises:
            ArtefactError: If one is missing or damaged, or two hold the same image.
        """
        self.readers, self._reader = [MapReader(path) for path in paths], dict[str, MapReader]()
        for reader in self.readers:
            for image_id in reader.image_ids:
                other = self._reader.setdefault(image_id, reader)
                if other is not reader:
                    raise ArtefactError(
                        f"image {image_id} is in {other.path} and in {reader.path}, expected in one shard; delete these files and rerun"
                    )

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._reader

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, image_id: str, *names: str) -> MapRecord:
        """As `MapReader.read`, from the shard that holds the image."""
        if image_id not in self._reader:
            raise ArtefactError(
                f"image {image_id} is in none of {', '.join(str(r.path) for r in self.readers) or 'no file'}; delete these files and rerun"
            )
        return self._reader[image_id].read(image_id, *names)

    def close(self) -> None:
        """As `MapReader.close`, every shard."""
        for reader in self.readers:
            reader.close()

    def __enter__(self) -> MapSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _texts(texts: Sequence[str]) -> np.ndarray:
    """Texts as UTF-8 of one length: HDF5 keeps texts of any length in a heap without a checksum, where a flipped bit can make it read for ever."""
    longest = max((len(t.encode()) for t in texts), default=0)
    return np.array([t.encode() for t in texts], dtype=f"S{longest or 1}")


def _offsets(sizes: Iterable[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(list(sizes))]).astype(np.int64)


def _flat(arrays: Sequence[np.ndarray], dtype: np.dtype) -> np.ndarray:
    return np.concatenate([a.ravel().view(dtype) for a in arrays]) if arrays else np.zeros(0, dtype)


def _table_crc(file: h5py.File) -> int:
    """CRC-32 of the attributes and of every small table: ids, classes, and each array's offsets, shapes and checksums."""
    crc = zlib.crc32(
        repr(
            [bytes(t) for t in (*(file.attrs[k] for k in ("stage", "settings", "code")), *file["image_id"][:])]
        ).encode()
    )
    for name in ("class_offset", "class_id"):
        crc = zlib.crc32(file[name][:].data, crc)
    for name, group in sorted((n, g) for n, g in file.items() if isinstance(g, h5py.Group)):
        crc = zlib.crc32(f"{name} {group['data'].dtype.str} {bool(group.attrs['bool'])}".encode(), crc)
        for table in ("offset", "shape", "crc32"):
            crc = zlib.crc32(group[table][:].data, crc)
    return crc
