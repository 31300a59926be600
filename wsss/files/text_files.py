"""Text, JSON and CSV files: read with clear errors, written whole or not at all (no torch)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsss.files.atomic import atomic
from wsss.files.errors import ArtefactError
from wsss.files.limits import MOST_JSON_BYTES, regular

DELETE = "delete it and rerun its stage"
"""What to do about a damaged file of a run."""


@contextmanager
def open_text(path: Path, *, most: int = 0, remedy: str = DELETE) -> Iterator[Any]:
    """Open a UTF-8 text file for reading.

    Args:
        path: The file.
        most: Largest number of bytes; 0: any.
        remedy: What to do if the content is damaged, for the message.

    Raises:
        ArtefactError: If the file is missing, no ordinary file or too large; if it is not UTF-8, or not valid CSV
            where the block reads it as CSV.
    """
    try:
        regular(path, most=most)
        file = path.open(newline="", encoding="utf-8")
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such file; run the workflow up to the stage that makes it") from None
    except ValueError as error:
        raise ArtefactError(f"{path}: cannot be read: {error}") from None
    with file:
        try:
            yield file
        except UnicodeDecodeError as error:
            raise ArtefactError(f"{path}: not UTF-8 text ({error}); {remedy}") from None
        except csv.Error as error:
            raise ArtefactError(f"{path}: not valid CSV ({error}); {remedy}") from None


def read_json(path: Path, *, most: int = MOST_JSON_BYTES, remedy: str = DELETE) -> Any:
    """Read one JSON file.

    Args:
        path: The file.
        most: Largest number of bytes.
        remedy: What to do if the content is damaged, for the message.

    Raises:
        ArtefactError: If the file is missing, malformed or too large.
    """
    with open_text(path, most=most, remedy=remedy) as file:
        try:
            return json.load(file)
        except UnicodeDecodeError:
            raise
        except (ValueError, RecursionError) as error:  # RecursionError: thousands of lists within each other
            raise ArtefactError(f"{path}: not valid JSON ({str(error)[:200]}); {remedy}") from None


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all. NaN is refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_csv(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Write a CSV file, whole or not at all."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
