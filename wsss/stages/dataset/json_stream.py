"""Lists of a large JSON file, one member after another, within limits (no torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ijson

from wsss.files.limits import MOST_JSON_DEPTH, MOST_MEMBER_VALUES, MOST_TEXT_BYTES, regular
from wsss.stages.dataset.faults import DataError

BLOCK = 1 << 16
"""Bytes read at once."""
CHANGES = {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}
"""Change of the depth at ijson's events."""
MEMBER = 3
"""Depth of an object in a list of the file: {"annotations": [{...}]}."""


def members(path: Path, prefix: str) -> Iterator[Any]:
    """The members of one list of a JSON file. Call `check_members` on the file first.

    Args:
        path: The file.
        prefix: ijson's name of them, e.g. "annotations.item".

    Yields:
        Each member as Python values.

    Raises:
        DataError: If the file is missing or no JSON, with the place.
    """
    yield from _reported(path, lambda file: ijson.items(file, prefix, use_float=True))


def check_members(path: Path) -> None:
    """Go over the whole file once without building anything.

    `members` builds each member in memory whole, so none may be too large or too deep.

    Args:
        path: The file.

    Raises:
        DataError: If the file is missing or no JSON, or if a member exceeds the limits of wsss/files/limits.py.
    """
    depth = values = place = 0
    meter = _Meter(path, place=lambda: place)
    for place, (event, _) in enumerate(_reported(path, lambda file: ijson.basic_parse(meter.of(file), use_float=True))):
        change = CHANGES.get(event)
        if change is None:
            values += 1
            continue
        depth += change
        if depth > MOST_JSON_DEPTH:
            deep = f"lists and objects more than {MOST_JSON_DEPTH} deep"
            raise DataError(f"{path}: {deep}; expected an instances file of COCO")
        values = values + 1 if depth >= MEMBER else 0
        if values > MOST_MEMBER_VALUES:
            large = f"one member of a list holds more than {MOST_MEMBER_VALUES:,} values (value {place:,} of the file)"
            raise DataError(f"{path}: {large}; correct or remove it")


class _Meter:
    """A file whose blocks are counted while the parser finds nothing in them.

    With each block the parser goes over an unfinished text again, from its beginning, so a long text takes for ever.
    """

    def __init__(self, path: Path, *, place: Callable[[], int]) -> None:
        self.path, self.place = path, place
        self.blocks = self.found = 0
        self.file: Any = None

    def of(self, file: Any) -> _Meter:
        self.file = file
        return self

    def read(self, size: int) -> bytes:
        place = self.place()
        self.blocks, self.found = (self.blocks + 1 if place == self.found else 0), place
        if self.blocks * BLOCK > MOST_TEXT_BYTES:
            raise DataError(f"{self.path}: a text of more than {MOST_TEXT_BYTES:,} bytes; correct or remove it")
        data: bytes = self.file.read(min(size, BLOCK))
        return data


def _reported(path: Path, read: Any) -> Iterator[Any]:
    """What `read` finds in the open file; its errors as DataError."""
    try:
        regular(path)
        with path.open("rb") as file:
            yield from read(file)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; dataset.coco.*_annotations are paths under dataset.coco.root") from None
    except DataError:
        raise
    except (ijson.JSONError, ValueError, OverflowError) as error:  # UnicodeDecodeError is a ValueError
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not valid JSON, or cut short ({reason}); fetch it again") from None
