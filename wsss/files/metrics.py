"""The columns of the tables of figures (no torch)."""

from __future__ import annotations

METRIC_COLUMNS = (
    *("run", "method", "variant", "stage", "round", "cycle"),
    *("split", "seed", "threshold", "metric", "class", "value"),
)
"""Columns of metrics.csv and of the tables that are joined into it. A column that does not apply is empty."""
