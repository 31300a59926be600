"""The packed HDF5 store: one file per (stage, shard), written once, checked on reading (no torch)."""

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
import numpy as np

from wsss.files.atomic import atomic
from wsss.files.errors import ArtefactError
from wsss.files.store_layout import FORMAT, check_layout, packed, table_crc
from wsss.runtime.out_of_memory import is_out_of_memory

DAMAGE = (
    *(OSError, KeyError, RuntimeError, ValueError, TypeError),
    *(AttributeError, IndexError, OverflowError, MemoryError),
)
"""What h5py raises on damaged files."""


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

    The file appears under its name only if the block ends without an error. It may hold no image (an empty shard).
    """

    def __init__(self, path: Path, *, stage: str, settings: Mapping[str, Any], code: str = "") -> None:
        """Prepare a file; nothing is written to the disk yet.

        Args:
            path: Final name.
            stage: Stage that makes the file, e.g. "extract_scores".
            settings: The stage's settings, as JSON can hold them.
            code: Digest of the stage's code.
        """
        self.path, self.stage, self.settings, self.code = path, stage, dict(settings), code
        self._ids, self._classes, self._arrays = dict[str, None](), list[np.ndarray](), dict[str, list[np.ndarray]]()

    def write(self, image_id: str, class_ids: Sequence[int] | np.ndarray, **arrays: np.ndarray) -> None:
        """Add one image, whole or not at all. All images have the same array names, dtypes and numbers of dimensions.

        Args:
            image_id: Key, unique in the file.
            class_ids: (K,) classes in 0..255, ascending: the first axis of 3-D arrays; for masks the image's classes.
            **arrays: Named arrays: float16, uint8 or bool.

        Raises:
            ValueError: For a repeated id, classes that do not ascend or do not fit, other arrays than before, another
                dtype, or values that are not finite.
        """
        ids, place = np.asarray(class_ids, np.int64).reshape(-1), f"{self.path}: image {image_id}"
        if (np.diff(ids, prepend=-1) <= 0).any() or (ids > 255).any():
            raise ValueError(f"{place} has the classes {ids.tolist()}, expected ascending ids in 0..255")
        if image_id in self._ids:
            raise ValueError(f"{place} written twice")
        if self._ids and set(arrays) != set(self._arrays):
            raise ValueError(f"{place} has arrays {sorted(arrays)}, expected {sorted(self._arrays)}")
        for name, array in arrays.items():
            if fault := self._fault(name, array, classes=len(ids)):
                raise ValueError(f"{place}: {fault}")
        for name, array in arrays.items():
            self._arrays.setdefault(name, []).append(np.array(array, order="C"))
        self._ids[image_id] = None
        self._classes.append(ids.astype(np.uint8))

    def _fault(self, name: str, array: np.ndarray, *, classes: int) -> str:
        """What keeps an array of an image of some classes out of the file; "" if nothing does."""
        if array.dtype not in (np.float16, np.uint8, np.bool_):
            return f"array {name} has dtype {array.dtype}, expected float16, uint8 or bool"
        if array.dtype == np.float16 and not np.isfinite(array).all():
            return f"{name} holds NaN or infinity; check the training log"
        if array.ndim == 3 and len(array) != classes:
            return f"{name} has {len(array)} maps for {classes} classes"
        first = self._arrays[name][0] if self._ids else array
        if (first.ndim, first.dtype) != (array.ndim, array.dtype):
            return f"{name} is {array.ndim}-D {array.dtype}, expected {first.ndim}-D {first.dtype}"
        return ""

    def __enter__(self) -> MapWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        header = {"stage": self.stage, "settings": json.dumps(self.settings, sort_keys=True), "code": self.code}
        content = packed(header=header, image_ids=list(self._ids), classes=self._classes, arrays=self._arrays)
        with atomic(self.path) as temporary:
            temporary.write_bytes(content)
            with MapReader(temporary) as check:
                if check.image_ids != list(self._ids):
                    raise ArtefactError(f"{self.path}: the written file does not read back; check the disk and rerun")
                for image_id in check.image_ids:
                    check.read(image_id)


class MapReader:
    """Reads one store file.

    The file is opened when maps are read, once in each process, so that a reader can be passed to loader processes.
    """

    def __init__(self, path: Path) -> None:
        """Read ids, classes and shapes; maps are read when they are asked for.

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
            if isinstance(error, ArtefactError):
                raise
            raise ArtefactError(f"{path}: {_unreadable(path, error)}") from None

    def _load(self, file: h5py.File) -> None:
        found = None
        if {"complete", "format"} <= set(file.attrs):
            check_layout(file)
            found = file.attrs["format"]
        if found != FORMAT or not file.attrs["complete"]:
            fault = f"incomplete or of another format (found {found}, expected {FORMAT})"
            raise ArtefactError(f"{self.path}: {fault}; delete it and rerun")
        if file.attrs["crc32"] != table_crc(file):
            fault = "ids, classes or shapes do not match their checksum (damaged on disk)"
            raise ArtefactError(f"{self.path}: {fault}; delete it and rerun")
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
            *names: Arrays to read; none: all.

        Returns:
            New arrays; writing to them changes nothing else.

        Raises:
            ArtefactError: If the image or an array is absent, or its bytes do not match their checksum.
        """
        if image_id not in self._position:
            raise ArtefactError(f"{self.path}: image {image_id} is not in this file; delete it and rerun")
        k = self._position[image_id]
        arrays = {name: self._read(image_id, name) for name in names or self._meta}
        return MapRecord(image_id=image_id, class_ids=self._classes[k].copy(), arrays=arrays)

    def _read(self, image_id: str, name: str) -> np.ndarray:
        """One array of an image."""
        if name not in self._meta:
            found = f"no array {name!r}, found {', '.join(self._meta) or 'none'} (of {self.stage})"
            raise ArtefactError(f"{self.path}: {found}; give a file of another stage")
        k, (offset, shape, crc, boolean) = self._position[image_id], self._meta[name]
        place, advice = f"{self.path}: image {image_id}: {name}", "delete the file and rerun"
        try:
            array = self._open(name)[offset[k] : offset[k + 1]].reshape(shape[k])
        except DAMAGE as error:
            if is_out_of_memory(error):
                raise
            raise ArtefactError(f"{place} cannot be read ({error}); {advice}") from None
        if zlib.crc32(array.data) != crc[k]:
            raise ArtefactError(f"{place} does not match its checksum (damaged on disk); {advice}")
        return array.view(np.bool_) if boolean else array

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
        """The array's flat data. It stays open in this process, because it caches its decompressed chunks."""
        if self._file is None or self._pid != os.getpid():
            self._file, self._data, self._pid = h5py.File(self.path, "r", locking="best-effort"), {}, os.getpid()
        if name not in self._data:
            self._data[name] = self._file[f"{name}/data"]
        return self._data[name]


def _unreadable(path: Path, error: Exception) -> str:
    """What is wrong with a file that is no store file, and what to do."""
    if path.is_dir():
        return "a folder; expected a run's .h5 file"
    reason = (str(error) or type(error).__name__).splitlines()[0]
    fault = f"no store file of this package, or a damaged one ({reason})"
    if ".h5" in path.suffixes:
        return f"{fault}; `snakemake FILE --forcerun FILE` remakes a damaged one of a run"
    return f"{fault}; expected a run's .h5 file"  # nobody should delete a file that is not ours


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
                    both = f"in {other.path} and in {reader.path}"
                    raise ArtefactError(
                        f"image {image_id} is {both}, expected in one shard; delete these files and rerun"
                    )

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._reader

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, image_id: str, *names: str) -> MapRecord:
        """As `MapReader.read`, from the shard that holds the image."""
        if image_id not in self._reader:
            files = ", ".join(str(r.path) for r in self.readers) or "no file"
            raise ArtefactError(f"image {image_id} is in none of {files}; delete these files and rerun")
        return self._reader[image_id].read(image_id, *names)

    def close(self) -> None:
        """As `MapReader.close`, every shard."""
        for reader in self.readers:
            reader.close()

    def __enter__(self) -> MapSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
