"""The field's pickled cls_labels.npy to a CSV of tags: the only place where wsss reads a pickle.

A pickle is a program. This reader runs none of it: names in the file are looked up in a fixed table of our own functions, which build plain
numeric arrays and nothing else; any other name is refused before it is resolved.
"""

from __future__ import annotations

import csv
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from wsss.artefacts import ArtefactError, atomic
from wsss.console import log, warn
from wsss.dataset.sources import VOC_CLASSES

_ARRAY = "ndarray"
"""Stands for the class numpy.ndarray, which is never handed to the file."""
_DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a malformed pickle may raise, with anything in it."""


def convert_labels(*, labels: Path, output: Path, root: Path | None = None) -> None:
    """Write `image,labels` rows from a pickled dict id -> (20,) vector of 0 and 1 in VOC order.

    Ids are strings ("2007_000032") or, in IRN's form, integers (2007000032). The image is ID.jpg: set dataset.folder.root to the folder JPEGImages.

    Args:
        labels: cls_labels.npy.
        output: CSV to write, sorted by id.
        root: Only images of this folder are written; absent: all.

    Raises:
        ArtefactError: If the file is missing, holds anything but such a dict, or an id or a vector is malformed.
    """
    table = {_image_id(key, labels): _class_names(key, value, labels) for key, value in read_labels(labels).items()}
    rows = [(f"{i}.jpg", ";".join(table[i])) for i in sorted(table)]
    if root is not None:
        rows = [row for row in rows if (root / row[0]).is_file()]
    if not rows:
        raise ArtefactError(f"{labels}: no image to write" + (f"; none of its {len(table)} images is in {root}" if root else ""))
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
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("not version 1.0 of the npy format")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            if shape != () or dtype != np.dtype(object):
                raise ValueError(f"an array of shape {shape} and dtype {dtype}, expected a pickled dict")
            array = _PlainUnpickler(file).load()
            value = array.item() if isinstance(array, np.ndarray) and array.shape == () else array
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such file") from None
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from None
    except _DAMAGED as error:
        raise ArtefactError(f"{path}: not the field's cls_labels.npy (a pickled dict of label vectors): {error or type(error).__name__}") from None
    if not isinstance(value, dict):
        raise ArtefactError(f"{path}: holds {type(value).__name__}, expected a dict of image id to label vector")
    return value


class _PlainUnpickler(pickle.Unpickler):
    """Builds dicts, strings, numbers and numeric arrays; refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise ArtefactError(
                f"asks for {module}.{name}, refused: only dicts of numpy arrays are read. Do not load this file with numpy.load(allow_pickle=True)"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise ArtefactError("refers to objects outside the file, refused: only dicts of numpy arrays are read")


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> np.ndarray:
    """numpy's `_reconstruct` for the one call that it writes: an empty array, filled by its state."""
    if kind != _ARRAY or shape != (0,) or typecode not in (b"b", "b"):
        raise ArtefactError("holds an array of an unknown kind, refused")
    return np.ndarray((0,), np.int8)


def _dtype(text: Any, *_: Any) -> np.dtype:
    """A new dtype of plain numbers (or of the outer object array); never numpy's shared one, whose state a file could change."""
    if not isinstance(text, str) or not re.fullmatch(r"[<>|=]?(b1|[iu][1248]|f[248]|O8?)", text):
        raise ArtefactError(f"holds an array of dtype {text!r}, refused: only numbers are read")
    return np.dtype(text, copy=True)  # type: ignore[call-overload]


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """numpy's `_frombuffer` (pickle protocol 5) for plain numbers."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise ArtefactError("holds an array of objects in bytes, refused")
    return np.frombuffer(bytes(buffer), dtype).reshape(shape, order="F" if order == "F" else "C").copy()


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    """`_codecs.encode` as Python 2's byte strings use it."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ArtefactError(f"asks for the encoding {encoding!r}, refused")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any] | str] = {
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _dtype,
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
        raise ArtefactError(f"{path}: image {key!r}: found {found}; expected {len(VOC_CLASSES)} entries of 0 or 1, in VOC order")
    return [VOC_CLASSES[k] for k in np.flatnonzero(vector)]
