"""The field's pickled cls_labels.npy to a CSV of labels: the only place where wsss reads a pickle.

A pickle is a program. This reader runs none of it.
Names in the file are looked up in a fixed table of our own functions, which build plain numeric arrays and nothing
else. Any other name is refused before it is resolved.
"""

from __future__ import annotations

import csv
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from wsss.files.atomic import atomic
from wsss.files.errors import ArtefactError
from wsss.files.limits import MOST_PICKLE_BYTES, regular
from wsss.runtime.console import log, warn
from wsss.stages.dataset.voc import VOC_CLASSES

_HEADER_BYTES = 1 << 17
"""More than the longest header of version 1.0 of the npy format."""
_ARRAY = "ndarray"
"""Stands for the class numpy.ndarray, which is never handed to the file."""


class PickleError(ValueError):
    """A pickle that does more than build plain data."""


_DAMAGED = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError),
    *(MemoryError, OverflowError, RecursionError, TypeError, ValueError),
)
"""What a malformed pickle may raise, with anything in it."""


def convert_labels(*, labels: Path, output: Path, root: Path | None = None) -> None:
    """Write `image,labels` rows from a pickled dict id -> (20,) vector of 0 and 1 in VOC order.

    Ids are strings ("2007_000032") or, in IRN's form, integers (2007000032). The image is ID.jpg: set
    dataset.folder.root to the folder JPEGImages.

    Args:
        labels: cls_labels.npy.
        output: CSV to write, sorted by id.
        root: Folder of images. Only images in it are written. None: all.

    Raises:
        ArtefactError: If the file is missing, holds anything but such a dict, or an id or a vector is malformed.
    """
    table = {_image_id(key, labels): _class_names(key, value, labels) for key, value in read_labels(labels).items()}
    rows = [(f"{i}.jpg", ";".join(table[i])) for i in sorted(table)]
    if root is not None:
        rows = [row for row in rows if (root / row[0]).is_file()]
    if not rows:
        reason = f"; none of its {len(table)} images is in {root}" if root else ""
        raise ArtefactError(f"{labels}: no image to write{reason}")
    if empty := [image for image, names in rows if not names]:
        warn("%s: %d images have no labels, e.g. %s; training images need at least one", labels, len(empty), empty[0])
    with atomic(output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("image", "labels"), *rows])
    log.info("%s: %d images", output, len(rows))


def read_labels(path: Path) -> dict[Any, Any]:
    """The dict inside a pickled 0-d object array, read without running any code of the file.

    Args:
        path: A .npy file as `np.save(path, dict)` writes it.

    Returns:
        The dict: strings, integers, and numeric arrays.

    Raises:
        ArtefactError: If the file is missing, damaged, or asks for anything but that.
    """
    try:
        regular(path, most=MOST_PICKLE_BYTES)
        content = path.read_bytes()
        program = content[_header(content) :]
        value = _PlainUnpickler(io.BytesIO(program)).load()
        value = value.value if isinstance(value, _Array) else value
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such file") from None
    except PickleError as error:
        advice = "only dicts of numpy arrays are read. Do not load this file with numpy.load(allow_pickle=True)"
        raise ArtefactError(f"{path}: not the field's cls_labels.npy: it {error}; {advice}") from None
    except _DAMAGED as error:
        reason = error or type(error).__name__
        raise ArtefactError(
            f"{path}: not the field's cls_labels.npy (a pickled dict of label vectors): {reason}"
        ) from None
    if not isinstance(value, dict):
        raise ArtefactError(f"{path}: holds {type(value).__name__}, expected a dict of image id to label vector")
    return {key: entry.value if isinstance(entry, _Array) else entry for key, entry in value.items()}


def _header(content: bytes) -> int:
    """Where the pickle begins.

    Raises:
        ValueError: If this is not the header of one pickled object.
    """
    file = io.BytesIO(content[:_HEADER_BYTES])
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not version 1.0 of the npy format")
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # numpy evaluates the header as a Python literal, which raises what it likes
        raise ValueError(f"its header is not numpy's ({type(error).__name__})") from None
    if shape != () or dtype != np.dtype(object):
        raise ValueError(f"an array of shape {shape} and dtype {dtype}, expected a pickled dict")
    return file.tell()


class _PlainUnpickler(pickle.Unpickler):
    """Builds dicts, strings, numbers and the stand-ins below; refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise PickleError(f"asks for {module}.{name}, refused")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise PickleError("refers to objects outside the file, refused")


class _Type:
    """Stands for a dtype, of plain numbers or of the outer object array.

    numpy's own dtype would take any state from the file, and read numbers as addresses.
    """

    def __init__(self, text: Any, *_: Any) -> None:
        if not isinstance(text, str) or not re.fullmatch(r"[<>|=]?(b1|[iu][1248]|f[248]|O8?)", text):
            raise PickleError(f"holds an array of dtype {text!r}, refused: only numbers are read")
        self.text = text.lstrip("<>|=")

    def __setstate__(self, state: Any) -> None:
        if (
            not isinstance(state, tuple)
            or state[:1] != (3,)
            or state[1:2] not in (("<",), (">",), ("|",), ("=",))
            or state[2:5] != (None, None, None)
        ):
            raise PickleError("holds a dtype with a state of its own, refused: only numbers are read")
        self.text = state[1] + self.text.lstrip("<>|=")

    @property
    def of_objects(self) -> bool:
        return "O" in self.text


class _Array:
    """Stands for an array: `value` is its numbers, or the one object of the outer array."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_columns, content = state
        if dtype.of_objects:
            if shape != () or not isinstance(content, list) or len(content) != 1:
                raise PickleError("holds an array of objects, refused: only numbers are read")
            self.value = content[0]
        else:
            self.value = _numbers(content, dtype, shape, by_columns)


def _numbers(content: Any, dtype: Any, shape: Any, by_columns: Any) -> np.ndarray:
    """A new numeric array of bytes in the file."""
    if not isinstance(dtype, _Type) or dtype.of_objects or not isinstance(content, bytes | bytearray):
        raise PickleError("holds an array of objects in bytes, refused")
    return np.frombuffer(bytes(content), np.dtype(dtype.text)).reshape(shape, order="F" if by_columns else "C").copy()


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> _Array:
    """numpy's `_reconstruct` for the one call that it writes: an empty array, filled by its state."""
    if kind != _ARRAY or shape != (0,) or typecode not in (b"b", "b"):
        raise PickleError("holds an array of an unknown kind, refused")
    return _Array()


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """numpy's `_frombuffer` (pickle protocol 5) for plain numbers."""
    array = _Array()
    array.value = _numbers(buffer, dtype, shape, order == "F")
    return array


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    """`_codecs.encode` as Python 2's byte strings use it."""
    if not isinstance(text, str) or encoding != "latin1":
        raise PickleError(f"asks for the encoding {encoding!r}, refused")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any] | str] = {
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


def _image_id(key: Any, path: Path) -> str:
    """The id as VOC spells it."""
    text = str(key)
    if isinstance(key, int) and not isinstance(key, bool) and re.fullmatch(r"\d{10}", text):
        return f"{text[:4]}_{text[4:]}"
    if isinstance(key, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", key):
        return key
    raise ArtefactError(f"{path}: {key!r} is no image id; expected '2007_000032' or 2007000032")


def _class_names(key: Any, value: Any, path: Path) -> list[str]:
    """Names of the classes whose entry is 1."""
    vector = np.asarray(value) if isinstance(value, np.ndarray) else None
    if vector is None or vector.shape != (len(VOC_CLASSES),) or not np.isin(vector, (0, 1)).all():
        found = f"shape {vector.shape}, values {np.unique(vector)[:5]}" if vector is not None else type(value).__name__
        expected = f"{len(VOC_CLASSES)} entries of 0 or 1, in VOC order"
        raise ArtefactError(f"{path}: image {key!r}: found {found}; expected {expected}")
    return [VOC_CLASSES[k] for k in np.flatnonzero(vector)]
