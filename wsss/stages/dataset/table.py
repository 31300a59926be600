"""The CSV of labels that lies beside a folder of photographs (no torch)."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from wsss.files.limits import MOST_CELLS, MOST_COLUMNS, MOST_IMAGES, MOST_TABLE_BYTES, regular
from wsss.runtime.console import warn
from wsss.runtime.text import short
from wsss.stages.dataset.checks import MOST_CLASSES, DataError, Faults, nearest

FOLDER_COLUMNS = ("image", "labels", "split", "mask")
"""Columns with a meaning; any other column of a CSV without `labels` is a class."""


class Table:
    """The CSV: `rows` of (place, cells by column). Row numbers are a spreadsheet's: the header is row 1."""

    def __init__(self, path: Path, faults: Faults) -> None:
        """Read the whole of it.

        Args:
            path: The file.
            faults: Receives rows that cannot be used.

        Raises:
            DataError: If the file is missing, no CSV, too large, or its header cannot be used.
        """
        self.path = path
        self.header, self.rows = self._read(faults)

    def has(self, column: str) -> bool:
        """Whether there is such a column."""
        return column in self.header

    def _read(self, faults: Faults) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
        try:
            lines = [(k, cells) for k, cells in self._lines() if any(cells)]
        except FileNotFoundError:
            raise DataError(
                f"{self.path}: no such file; dataset.folder.labels is a CSV under dataset.folder.root"
            ) from None
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: not UTF-8 text ({error}); save it as CSV UTF-8") from None
        except csv.Error as error:
            raise DataError(f"{self.path}: not valid CSV ({error})") from None
        except ValueError as error:
            raise DataError(f"{self.path}: cannot be read: {error}") from None
        if not lines:
            raise DataError(
                f"{self.path}: the file is empty; its first row must name the columns `image` and `labels`, or `image` and one class a column"
            )
        header = lines[0][1]
        if "image" not in header:
            hint = (
                "; columns must be separated by ','"
                if len(header) == 1 and ";" in header[0]
                else nearest("image", header)
            )
            raise DataError(f"{self.path} row 1: no column `image`, found {short(header)}{hint}")
        if repeated := sorted(c for c, k in Counter(header).items() if k > 1):
            raise DataError(
                f"{self.path} row 1: columns {short(repeated)} occur more than once; rename or delete one of each"
            )
        rows = []
        for k, cells in lines[1:]:
            where = f"{self.path.name} row {k}"
            if len(cells) != len(header):
                faults.add(
                    "row",
                    f"{where}: {len(cells)} cells, expected {len(header)} ({','.join(header[:6])[:200]}{',...' if len(header) > 6 else ''}); quote cells that hold a comma",
                )
            else:
                rows.append((where, dict(zip(header, cells, strict=True))))
        return header, rows

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """(number, cells) of each line, within the limits.

        Raises:
            ValueError: If there is more than can be read.
        """
        regular(self.path, most=MOST_TABLE_BYTES)
        cells_read = 0
        with self.path.open(newline="", encoding="utf-8-sig") as file:
            for k, cells in enumerate(csv.reader(file, strict=True), 1):
                cells_read += len(cells)
                if len(cells) > MOST_COLUMNS:
                    raise ValueError(f"row {k} has {len(cells):,} cells, at most {MOST_COLUMNS:,} are read")
                if k > MOST_IMAGES + 1 or cells_read > MOST_CELLS:
                    raise ValueError(f"it has more than {MOST_IMAGES:,} rows or {MOST_CELLS:,} cells")
                yield k, [cell.strip() for cell in cells]

    def class_names(self) -> list[str]:
        """Classes of the CSV: names in the cells, sorted, or columns in order."""
        if self.has("labels"):
            return sorted({name for _, cells in self.rows for name in _split_names(cells["labels"])})
        return [c for c in self.header if c not in FOLDER_COLUMNS]

    def class_columns(self, names: list[str], faults: Faults, *, given: bool) -> list[str]:
        """The 0/1 columns to read; a column that holds anything else is one fault, not one a row."""
        others = [c for c in self.header if c not in FOLDER_COLUMNS]
        if len(names) > MOST_CLASSES:  # a fault already
            return []
        for name in names:
            if name not in others:
                faults.add(
                    "class",
                    f"{self.path.name} row 1: no column for class {name!r}, and no column `labels`{nearest(name, others)}",
                )
        if left := [c for c in others if c not in names]:
            warn("%s: columns %s are not in dataset.folder.classes; they are not read", self.path, ", ".join(left))
        usable = []
        for name in (c for c in others if c in names):
            bad = [(where, cells[name]) for where, cells in self.rows if cells[name] not in ("0", "1", "0.0", "1.0")]
            if bad:
                hint = (
                    "" if given else "; if it is no class, delete it or list the classes under dataset.folder.classes"
                )
                faults.add(
                    "label",
                    f"{bad[0][0]}: column {name!r} holds {bad[0][1]!r}, expected 0 or 1 ({len(bad)} such rows){hint}",
                )
            else:
                usable.append(name)
        return usable

    def labels(self, cells: dict[str, str], columns: list[str]) -> tuple[str, ...]:
        """Class names of one row, each once."""
        if self.has("labels"):
            return tuple(dict.fromkeys(_split_names(cells["labels"])))
        return tuple(c for c in columns if cells[c] in ("1", "1.0"))


def _split_names(cell: str) -> list[str]:
    return [name for name in (part.strip() for part in cell.split(";")) if name]
