"""The numbers of a run: metrics.csv, looked up by artefact and metric."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wsss.files.metric_table import read_metric_rows
from wsss.workflow.rows import ArtefactKey

WARNING = "warning"
"""Metrics whose names start so count faults of the maps and masks themselves."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """One number, in [0, 1] for most metrics, and the threshold that it belongs to; None for masks."""

    value: float
    threshold: float | None = None


class Metrics:
    """Numbers by artefact and metric. What was not measured is None or empty."""

    def __init__(self, rows: pd.DataFrame) -> None:
        """Group the rows.

        Args:
            rows: Text in the columns of metrics.csv, as `read_metric_rows` gives them.
        """
        numbers = rows.assign(
            threshold=rows["threshold"].replace("", "nan").astype(float), value=rows["value"].astype(float)
        )
        groups = numbers.groupby([*ArtefactKey._fields, "metric"], sort=False)
        self._none = numbers.iloc[:0]
        self._rows: dict[tuple[str, ...], pd.DataFrame] = {tuple(map(str, name)): part for name, part in groups}

    def get(self, key: ArtefactKey, metric: str) -> Value | None:
        """The first number of a metric that belongs to no class."""
        rows = self._overall(key, metric)
        if rows.empty:
            return None
        first = rows.iloc[0]
        return Value(value=float(first["value"]), threshold=None if pd.isna(first["threshold"]) else first["threshold"])

    def number(self, key: ArtefactKey, metric: str) -> float | None:
        """As `get`, the value alone."""
        found = self.get(key, metric)
        return None if found is None else found.value

    def curve(self, key: ArtefactKey, metric: str) -> list[tuple[float, float]]:
        """(threshold, value) of a swept metric, by threshold."""
        rows = self._overall(key, metric).dropna(subset="threshold").sort_values("threshold")
        return list(zip(rows["threshold"].tolist(), rows["value"].tolist(), strict=True))

    def by_class(self, key: ArtefactKey, metric: str) -> dict[str, float]:
        """Class name to value. Of a swept metric, the values at the best threshold if they are there."""
        rows = self._of(key, metric)
        rows = rows[rows["class"] != ""]
        best = self.get(key, "miou_best")
        at_best = rows[rows["threshold"] == best.threshold] if best is not None else rows.iloc[:0]
        rows = rows if at_best.empty else at_best
        return dict(zip(rows["class"].tolist(), rows["value"].tolist(), strict=True))

    def main(self, key: ArtefactKey) -> float | None:
        """The figure that an artefact is judged by: mIoU, of score maps at the best threshold."""
        return self.number(key, "miou_best" if key.stage in ("scores", "fused") else "miou")

    def warnings(self, key: ArtefactKey) -> dict[str, list[str]]:
        """Metrics that count a fault and are not 0, with the classes they are about."""
        own = _text(key)
        counted = {
            metric: rows[rows["value"] != 0]
            for (*artefact, metric), rows in self._rows.items()
            if metric.startswith(WARNING) and tuple(artefact) == own
        }
        return {metric: [c for c in rows["class"] if c] for metric, rows in counted.items() if not rows.empty}

    def _overall(self, key: ArtefactKey, metric: str) -> pd.DataFrame:
        rows = self._of(key, metric)
        return rows[rows["class"] == ""]

    def _of(self, key: ArtefactKey, metric: str) -> pd.DataFrame:
        return self._rows.get((*_text(key), metric), self._none)


def _text(key: ArtefactKey) -> tuple[str, ...]:
    """The key as metrics.csv spells it."""
    return tuple("" if part is None else str(part) for part in key)


def read_metrics(path: Path) -> Metrics:
    """Read metrics.csv.

    Raises:
        ArtefactError: If the file is missing or has other columns, or a row is malformed.
    """
    return Metrics(read_metric_rows(path, advice="delete it and rerun collect_metrics"))
