"""Cells of the page's tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsss.stages.report.metrics import Value

DASH = "–"


@dataclass(kw_only=True)
class Cell:
    """One cell: text, the number behind it, a note shown when pointed at, and whether it is its column's best."""

    text: str
    value: float | None
    note: str = ""
    best: bool = False


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as percent, or a dash."""
    return DASH if value is None else f"{100 * value:.{digits}f}"


def cell_of(found: Value | None) -> Cell:
    """The cell of a fraction; its note says the threshold."""
    if found is None:
        return Cell(text=DASH, value=None)
    note = f"at background threshold {found.threshold:g}" if found.threshold is not None else ""
    return Cell(text=percent(found.value), value=found.value, note=note)


def mark_best(rows: Sequence[Sequence[Cell]]) -> None:
    """Mark the best cells of every column (in place), unless all are equal."""
    for column in zip(*rows, strict=True):
        cells = [cell for cell in column if cell.value is not None]
        top = percent(max((c.value for c in cells if c.value is not None), default=None))
        for cell in cells:
            cell.best = cell.text == top and any(other.text != top for other in cells)
