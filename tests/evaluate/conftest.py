"""A data set of a few images with truth masks, as index_images would leave it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from wsss.files.index import INDEX_COLUMNS
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.text_files import write_csv

NAMES = ["background", "train", "dog", "cat"]


class TruthSet:
    """Add images, then `index`: the path of index.csv."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        write_csv(
            folder / "classes.csv", ("class_id", "name"), [{"class_id": k, "name": n} for k, n in enumerate(NAMES)]
        )

    def add(
        self,
        image_id: str,
        truth: np.ndarray | None,
        *,
        labels: Sequence[int],
        size: tuple[int, int] = (2, 2),
        split: str = "train",
        measured: int = 1,
        context: Any = None,
    ) -> None:
        paths = {"mask": "", "context": ""}
        for key, plane in (("mask", truth), ("context", context)):
            if plane is not None:
                paths[key] = f"{image_id}.{key}.png"
                Image.fromarray(np.asarray(plane, np.uint8)).save(self.folder / paths[key])
        height, width = size if truth is None else np.shape(truth)
        row = {
            "image_id": image_id,
            "split": split,
            "measured": measured,
            "height": height,
            "width": width,
            "labels": ";".join(NAMES[k] for k in labels),
            "image": "none.png",
        }
        self.rows.append(dict.fromkeys(INDEX_COLUMNS, "") | row | paths)

    @property
    def index(self) -> Path:
        write_csv(self.folder / "index.csv", INDEX_COLUMNS, self.rows)
        return self.folder / "index.csv"


class Figures:
    """A fragment of metrics.csv: `figures(metric, class_name, threshold)` is one value, or None."""

    def __init__(self, path: Path) -> None:
        self.table = pd.read_csv(path)
        assert tuple(self.table.columns) == METRIC_COLUMNS
        keys = self.table[["metric", "class", "threshold"]]
        assert not keys.duplicated().any(), "one number a row"
        assert np.isfinite(self.table["value"]).all()

    def __call__(self, metric: str, name: str | None = None, *, threshold: float | None = None) -> float | None:
        t = self.table[self.table["metric"] == metric]
        t = t[t["class"].isna()] if name is None else t[t["class"] == name]
        t = t if threshold is None else t[np.isclose(t["threshold"], threshold)]
        assert len(t) <= 1, f"{len(t)} rows of {metric}"
        return float(t["value"].iloc[0]) if len(t) else None

    def threshold(self, metric: str) -> float:
        return float(self.table.loc[self.table["metric"] == metric, "threshold"].iloc[0])


@pytest.fixture
def truth_set(tmp_path: Path) -> TruthSet:
    folder = tmp_path / "dataset"
    folder.mkdir()
    return TruthSet(folder)


@pytest.fixture
def figures_of() -> Callable[[Path], Figures]:
    return Figures
