"""The CSV of labels of a folder of photographs (no torch)."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from wsss.files.limits import MOST_CELLS, MOST_COLUMNS, MOST_IMAGES, MOST_TABLE_BYTES, regular
from wsss.files.mask_values import MOST_CLASSES
from wsss.runtime.console import warn
from wsss.runtime.text import short
from wsss.stages.dataset.faults import DataError, Faults
from wsss.stages.dataset.names import did_you_mean

FOLDER_COLUMNS = ("image", "labels", "split", "mask")
"""Columns with a meaning. Any other column of a CSV without `labels` is a class."""
ZERO, ONE = ("0", "0.0"), ("1", "1.0")
"""What a cell of a class's column may hold."""


class Table:
    """The CSV: `rows` of (place, cells by column). Row numbers are a spreadsheet's: the header is row 1."""

    def __init__(self, path: Path, faults: Faults) -> None:
        """Read the whole file.

        Args:
            path: The file.
            faults: Receives rows that cannot be used.

        Raises:
            DataError: If the file is missing, no CSV, too large, or its header cannot be used.
        """
        self.path = path
        lines = self._read()
        self.header = self._header(lines[0][1])
        self.rows = list(self._rows(lines[1:], faults))

    def has(self, column: str) -> bool:
        """Whether there is such a column."""
        return column in self.header

    def _read(self) -> list[tuple[int, list[str]]]:
        """(number, cells) of each line that is not empty; the first is the header."""
        try:
            lines = [(k, cells) for k, cells in self._lines() if any(cells)]
        except FileNotFoundError:
            advice = "dataset.folder.labels is a CSV under dataset.folder.root"
            raise DataError(f"{self.path}: no such file; {advice}") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: not UTF-8 text ({error}); save it as CSV UTF-8") from None
        except csv.Error as error:
            raise DataError(f"{self.path}: not valid CSV ({error})") from None
        except ValueError as error:
            raise DataError(f"{self.path}: cannot be read: {error}") from None
        if not lines:
            columns = "`image` and `labels`, or `image` and one class a column"
            raise DataError(f"{self.path}: the file is empty; its first row must name the columns {columns}")
        return lines

    def _header(self, header: list[str]) -> list[str]:
        """The names of the columns, checked."""
        if "image" not in header:
            one_cell = len(header) == 1 and ";" in header[0]
            hint = "; columns must be separated by ','" if one_cell else did_you_mean("image", header)
            raise DataError(f"{self.path} row 1: no column `image`, found {short(header)}{hint}")
        if repeated := sorted(c for c, k in Counter(header).items() if k > 1):
            advice = "rename or delete one of each"
            raise DataError(f"{self.path} row 1: columns {short(repeated)} occur more than once; {advice}")
        return header

    def _rows(self, lines: list[tuple[int, list[str]]], faults: Faults) -> Iterator[tuple[str, dict[str, str]]]:
        """The rows that have as many cells as the header."""
        for k, cells in lines:
            where = f"{self.path.name} row {k}"
            if len(cells) == len(self.header):
                yield where, dict(zip(self.header, cells, strict=True))
            else:
                columns = ",".join(self.header[:6])[:200] + (",..." if len(self.header) > 6 else "")
                expected = f"expected {len(self.header)} ({columns}); quote cells that hold a comma"
                faults.add("row", f"{where}: {len(cells)} cells, {expected}")

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
        """The 0/1 columns to read. A column that holds anything else is one fault, not one a row.

        Args:
            names: Foreground classes.
            faults: Receives what is wrong.
            given: Whether the configuration lists the classes.
        """
        others = [c for c in self.header if c not in FOLDER_COLUMNS]
        if len(names) > MOST_CLASSES:  # a fault already
            return []
        for name in names:
            if name not in others:
                missing = f"no column for class {name!r}, and no column `labels`{did_you_mean(name, others)}"
                faults.add("class", f"{self.path.name} row 1: {missing}")
        if left := [c for c in others if c not in names]:
            warn("%s: columns %s are not in dataset.folder.classes; they are not read", self.path, ", ".join(left))
        usable = []
        for name in (c for c in others if c in names):
            bad = [(where, cells[name]) for where, cells in self.rows if cells[name] not in ZERO + ONE]
            if bad:
                hint = "; if it is no class, delete it or list the classes under dataset.folder.classes"
                found = f"column {name!r} holds {bad[0][1]!r}, expected 0 or 1 ({len(bad)} such rows)"
                faults.add("label", f"{bad[0][0]}: {found}{'' if given else hint}")
            else:
                usable.append(name)
        return usable

    def labels(self, cells: dict[str, str], columns: list[str]) -> tuple[str, ...]:
        """Class names of one row, each once."""
        if self.has("labels"):
            return tuple(dict.fromkeys(_split_names(cells["labels"])))
        return tuple(c for c in columns if cells[c] in ONE)


def _split_names(cell: str) -> list[str]:
    return [name for name in (part.strip() for part in cell.split(";")) if name]
