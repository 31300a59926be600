"""Numbers of metrics.csv, looked up by artefact."""

from __future__ import annotations

import pytest

from wsss.files.errors import ArtefactError
from wsss.files.metrics import METRIC_COLUMNS
from wsss.stages.report.metrics import Metrics, Value, read_metrics
from wsss.workflow.rows import ArtefactKey

SCORES = ArtefactKey("cam", "", "scores", 1, None, "train")
FUSED = ArtefactKey("cam", "", "fused", None, None, "train")


def read(tmp_path, *rows: str) -> Metrics:
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join([",".join(METRIC_COLUMNS), *rows, ""]))
    return read_metrics(path)


def test_numbers_are_found_by_artefact(tmp_path):
    m = read(
        tmp_path,
        "r,cam,,scores,1,,train,0,0.3,miou_best,,0.5",
        "r,cam,,scores,1,,train,0,0.2,iou,cat,0.1",
        "r,cam,,scores,1,,train,0,0.3,iou,cat,0.4",
        "r,cam,,scores,1,,train,0,0.3,iou,NA,0.6",
        "r,cam,psl,prediction,,1,val,0,,miou,,0.7",
    )
    assert m.get(SCORES, "miou_best") == Value(value=0.5, threshold=0.3)
    assert m.main(SCORES) == 0.5
    assert m.by_class(SCORES, "iou") == {"cat": 0.4, "NA": 0.6}  # at the best threshold
    assert m.number(SCORES, "miou") is None
    assert m.number(SCORES._replace(round=2), "miou_best") is None
    assert m.get(ArtefactKey("cam", "psl", "prediction", None, 1, "val"), "miou") == Value(value=0.7)


def test_curves_are_in_order(tmp_path):
    rows = [f"r,cam,,fused,,,train,0,{t},miou_curve,,{v}" for t, v in ((0.5, 0.2), (0.1, 0.3), (0.05, 0.4))]
    assert read(tmp_path, *rows).curve(FUSED, "miou_curve") == [(0.05, 0.4), (0.1, 0.3), (0.5, 0.2)]


def test_warnings_are_those_that_count_something(tmp_path):
    m = read(
        tmp_path,
        "r,cam,,fused,,,train,0,,warning_empty_class,cat,3",
        "r,cam,,fused,,,train,0,,warning_empty_class,dog,1",
        "r,cam,,fused,,,train,0,,warning_all_background,,0",
        "r,cam,,scores,1,,train,0,,warning_all_background,,1",
    )
    assert m.warnings(FUSED) == {"warning_empty_class": ["cat", "dog"]}
    assert m.warnings(SCORES) == {"warning_all_background": []}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("r,cam,,fused,,,train,0,,miou,,much", "value is 'much'"),
        ("r,cam,,fused,,,train,0,,miou,,nan", "value is 'nan'"),
        ("r,cam,,fused,x,,train,0,,miou,,0.5", "round is 'x'"),
        ("r,cam,,fused", "value is ''"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, row, words):
    with pytest.raises(ArtefactError, match=rf"metrics\.csv: row 3: {words}, expected a finite number"):
        read(tmp_path, "r,cam,,fused,,,train,0,,miou,,0.5", row)


def test_other_columns_are_refused(tmp_path):
    (tmp_path / "m.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ArtefactError, match=r"found columns \['a', 'b'\]"):
        read_metrics(tmp_path / "m.csv")
