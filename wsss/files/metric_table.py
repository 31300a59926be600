"""Tables of metric rows, metrics.csv and its fragments, as pandas frames (no torch).

Only the stages that work with whole tables import this module: pandas takes a second to start.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from wsss.files.errors import ArtefactError
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.text_files import open_text

NUMBERS = ("round", "cycle", "threshold")
"""Columns that hold a number or nothing. `value` always holds one."""


def read_metric_rows(path: Path, *, advice: str) -> pd.DataFrame:
    """Read the rows of metrics.csv or of one fragment as text, so that every number keeps its digits.

    Args:
        path: The file.
        advice: What to do if it is malformed, for the message.

    Returns:
        The columns METRIC_COLUMNS as text, "" where one does not apply. Numbers are checked and left as text.

    Raises:
        ArtefactError: If the file is missing or has other columns, or a row is malformed.
    """
    with open_text(path) as file:
        try:  # the header is read as a row: then every row must have as many fields
            lines = pd.read_csv(file, header=None, dtype=str, keep_default_na=False)
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise ArtefactError(f"{path}: not a table of metrics ({str(error).strip()}); {advice}") from None
    header = list(lines.iloc[0])
    if header != list(METRIC_COLUMNS):
        raise ArtefactError(f"{path}: found columns {header}, expected {list(METRIC_COLUMNS)}; {advice}")
    rows = lines.iloc[1:].set_axis(METRIC_COLUMNS, axis="columns")
    for column in (*NUMBERS, "value"):  # a row that is too short has no value
        finite = np.isfinite(pd.to_numeric(rows[column], errors="coerce"))
        wrong = ~finite if column == "value" else ~finite & (rows[column] != "")
        if wrong.any():
            place = int(np.flatnonzero(wrong)[0])
            found, expected = rows[column].iloc[place], "a finite number" + " or nothing" * (column != "value")
            raise ArtefactError(f"{path}: row {place + 2}: {column} is {found!r}, expected {expected}; {advice}")
    return rows
