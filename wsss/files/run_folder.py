"""Which run a file belongs to (no torch)."""

from __future__ import annotations

from pathlib import Path


def enclosing_run(path: Path) -> Path | None:
    """The folder of the run that a path is in: the nearest folder above it with dataset/index.csv; None: in no run."""
    return next((p for p in path.absolute().parents if (p / "dataset" / "index.csv").is_file()), None)
