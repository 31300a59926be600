"""MATLAB files (version 5 to 7) of proposals: what they hold is checked before scipy reads it.

scipy reserves what a file claims to hold and follows cells within cells until its stack overflows. The format: a header of 128 bytes, then elements of (type, bytes) and content; a matrix is an
element that holds elements: flags, dimensions, name, and its numbers or its cells.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import scipy.io

from wsss.files.limits import MOST_MATLAB_BYTES, regular

MATRIX, COMPRESSED = 14, 15
CELL, NUMBERS = 1, range(6, 16)
"""Classes of matrices; numbers are double to uint64."""
HEADER, TAG = 128, 8
START = 1 << 12
"""Bytes of a compressed variable that hold its name."""


def read_variables(path: Path, names: Collection[str]) -> dict[str, Any]:
    """The variables of a file; those named with their values.

    Args:
        path: The file.
        names: Of numeric arrays, or cell arrays of them.

    Returns:
        Name to array, or to None for a variable that is not named; cell arrays have dtype object.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is no MATLAB file up to version 7, damaged, too large, or holds anything else under these names.
    """
    regular(path, most=MOST_MATLAB_BYTES)
    content = path.read_bytes()
    try:
        there = _check(content, names)
        found: dict[str, Any] = scipy.io.loadmat(io.BytesIO(content), variable_names=list(names))
    except Exception as error:  # struct, zlib and scipy raise what they like on damaged files
        raise ValueError(str(error)[:200] or type(error).__name__) from None
    return {name: found.get(name) for name in there}


def _check(content: bytes, names: Collection[str]) -> list[str]:
    """Refuse claims that the bytes do not cover, and cells that hold other than numbers, in the named variables; the names of all."""
    order = {b"IM": "<", b"MI": ">"}.get(content[HEADER - 2 : HEADER])
    if order is None:
        raise ValueError("its header is not that of a MATLAB 5 file")
    left, there = MOST_MATLAB_BYTES, []
    for kind, body in _elements(memoryview(content)[HEADER:], order):
        if kind == COMPRESSED:
            there.append(_name(_inflated(body, START)[TAG:], order))
            if there[-1] not in names:
                continue
            body = memoryview(_inflated(body, left + 1))
            left -= len(body)
            if left < 0:
                raise ValueError(f"it unpacks to more than {MOST_MATLAB_BYTES:,} bytes")
            inner = list(_elements(body, order))
            if len(inner) != 1:
                raise ValueError(f"{len(inner)} variables in the place of one")
            kind, body = inner[0]
        elif kind == MATRIX:
            there.append(_name(body, order))
        if kind == MATRIX and _name(body, order) in names:
            _check_matrix(body, order, cells=True)
    return there


def _check_matrix(body: memoryview, order: str, *, cells: bool) -> None:
    parts = list(_elements(body, order))
    if len(parts) < 3:
        raise ValueError("a variable without flags, dimensions and name")
    kind = parts[0][1][0] if order == "<" else parts[0][1][3]
    dimensions = struct.unpack(f"{order}{len(parts[1][1]) // 4}i", parts[1][1])
    held = len(parts) - 3 if kind == CELL else len(parts[3][1]) if len(parts) > 3 else 0
    if min(dimensions, default=0) < 0 or math.prod(dimensions) > held:
        raise ValueError(f"an array claims the dimensions {dimensions[:4]}, there are {held} values at most")
    if kind == CELL and cells:
        for _, cell in parts[3:]:
            _check_matrix(cell, order, cells=False)
    elif kind not in NUMBERS:
        raise ValueError(f"an array is of class {kind}, expected numbers, or cells of numbers")


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, content) of the elements one after the other."""
    at = 0
    while at + TAG <= len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        if kind >> 16:  # up to four bytes stand in the tag itself
            kind, size, begin, step = kind & 0xFFFF, kind >> 16, at + 4, TAG
        else:
            begin, step = at + TAG, TAG + size + (-size % 8 if kind != COMPRESSED else 0)
        if begin + size > len(data):
            raise ValueError("it ends within an element")
        yield kind, data[begin : begin + size]
        at += step


def _name(body: bytes | memoryview, order: str) -> str:
    """Of the matrix that begins here; its third element, cut short or not."""
    at = 0
    for _ in range(2):
        kind, size = struct.unpack_from(order + "II", body, at)
        at += TAG if kind >> 16 else TAG + size + -size % 8
    kind, size = struct.unpack_from(order + "II", body, at)
    begin, size = (at + 4, kind >> 16) if kind >> 16 else (at + TAG, size)
    return bytes(body[begin : begin + min(size, START)]).decode("latin1")


def _inflated(body: memoryview, most: int) -> bytes:
    return zlib.decompressobj().decompress(body, most)
