"""What is checked before any image is opened: rows, names and paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsss.stages.dataset.faults import Faults
from wsss.stages.dataset.names import did_you_mean
from wsss.stages.dataset.paths import path_fault
from wsss.stages.dataset.row_checks import check_rows
from wsss.stages.dataset.source import SourceRow
from wsss.stages.dataset.voc import VOC_CLASSES


def test_a_class_on_every_training_image_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        SourceRow(where=f"row {k}", image_id=str(k), split="train", labels=labels, image=Path("x"))
        for k, labels in enumerate((("cat", "dog"), ("cat",)))
    ]
    check_rows(rows, ["cat", "dog"], Faults(), where="labels.csv")
    err = capsys.readouterr().err
    assert "every training image has cat" in err
    assert "dog" not in err


def test_the_nearest_name() -> None:
    assert did_you_mean("aeroplan", VOC_CLASSES) == "; did you mean 'aeroplane'?"
    assert did_you_mean("TV-monitor", VOC_CLASSES) == "; did you mean 'tvmonitor'?"
    assert did_you_mean("xyzzy", VOC_CLASSES) == ""


def test_paths_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    os.symlink(root / "sub", root / "inner")
    os.symlink(tmp_path, root / "outer")
    assert path_fault("sub/a.jpg", root) == ""
    assert path_fault("inner/a.jpg", root) == ""
    for text in ("../a.jpg", "sub/../../a.jpg", "/a.jpg"):
        assert "leaves the folder" in path_fault(text, root)
    assert "link out of the folder" in path_fault("outer/a.jpg", root)
