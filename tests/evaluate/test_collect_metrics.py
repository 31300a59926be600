"""The one table of a run: joined, checked, in one order."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from wsss.files.errors import ArtefactError
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.text_files import write_csv
from wsss.settings.sections import Config
from wsss.settings.stage_settings import PlanSettings
from wsss.stages.evaluate.collect_metrics import ROUND_FIGURES, TIMING_FIGURES, collect_metrics
from wsss.workflow.graph import Graph
from wsss.workflow.run_plan import records

NONE = PlanSettings()


def fragment(path: Path, *rows: dict) -> Path:
    base = dict.fromkeys(METRIC_COLUMNS, "") | {
        "run": "r",
        "method": "cam",
        "stage": "scores",
        "round": 1,
        "split": "train",
        "seed": 0,
        "metric": "miou",
        "value": 0.5,
    }
    write_csv(path, METRIC_COLUMNS, [base | row for row in rows])
    return path


def collect(tmp_path: Path, *fragments: Path, settings: PlanSettings = NONE) -> list[dict[str, str]]:
    collect_metrics(fragments=list(fragments), settings=settings, output=tmp_path / "metrics.csv")
    with (tmp_path / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_rows_are_joined_unchanged_in_one_order(tmp_path):
    a = fragment(
        tmp_path / "a.csv",
        {"stage": "prediction", "round": "", "cycle": 0},
        {"metric": "iou", "class": "zebra"},
        {"metric": "iou", "class": "ant"},
    )
    b = fragment(
        tmp_path / "b.csv",
        {"round": 10},
        {"round": 2},
        *({"metric": "recall", "threshold": t} for t in (0.5, 0.12, 1e-05)),
    )
    first = collect(tmp_path, a, b)
    whole = (tmp_path / "metrics.csv").read_bytes()
    assert collect(tmp_path, b, a) == first
    assert (tmp_path / "metrics.csv").read_bytes() == whole
    assert [r["round"] for r in first] == ["1"] * 5 + ["2", "10", ""]
    assert [r["class"] for r in first if r["metric"] == "iou"] == ["zebra", "ant"]  # as in the fragment: by class id
    assert [r["threshold"] for r in first if r["metric"] == "recall"] == ["1e-05", "0.12", "0.5"]
    assert first[-1]["stage"] == "prediction"
    assert whole.count(b"run,method") == 1


def test_numbers_are_ordered_by_value_round_before_cycle_and_nothing_first(tmp_path):
    rows = [{"round": r, "cycle": c, "threshold": t} for r in ("", 2, 10) for c in ("", 0, 1) for t in ("", 0.5, 1e-05)]
    file = fragment(tmp_path / "a.csv", *rows[::-1], {"stage": "unknown"}, {"stage": "timing"})
    found = [(r["round"], r["cycle"], r["threshold"]) for r in collect(tmp_path, file)]
    in_order = [(r, c, t) for r in ("", "2", "10") for c in ("", "0", "1") for t in ("", "1e-05", "0.5")]
    assert found[:-2] == in_order
    assert [r["stage"] for r in collect(tmp_path, file)][-2:] == ["timing", "unknown"]


def test_classes_keep_the_order_of_their_fragment(tmp_path):
    names = [f"class {k * 37 % 101}" for k in range(101)]
    rows = [{"metric": "iou", "class": name, "value": k * 61 % 101} for k, name in enumerate(names)]
    file = fragment(tmp_path / "a.csv", *rows)
    assert [r["class"] for r in collect(tmp_path, file)] == names


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "", "high"])
def test_what_is_no_finite_number_is_refused(tmp_path, value):
    with pytest.raises(ArtefactError, match=rf"a\.csv: row 2: value is '{value}', expected a finite number"):
        collect(tmp_path, fragment(tmp_path / "a.csv", {"value": value}))
    assert not (tmp_path / "metrics.csv").exists()


def test_malformed_fragments_are_named(tmp_path):
    (tmp_path / "columns.csv").write_text("run,method\nr,cam\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "long.csv").write_text(",".join(METRIC_COLUMNS) + "\n" + "1," * 12 + "1\n")
    (tmp_path / "short.csv").write_text(",".join(METRIC_COLUMNS) + "\nr,cam\n")
    fragment(tmp_path / "round.csv", {"round": "first"})
    for name, words in (
        ("columns", "found columns"),
        ("short", "row 2: value is '', expected a finite number"),
        ("long", "not a table of metrics .*Expected 12 fields in line 2, saw 13"),
        ("empty", "not a table of metrics"),
        ("round", "row 2: round is 'first'"),
        ("missing", "no such file"),
    ):
        with pytest.raises(ArtefactError, match=f"{name}.csv: {words}"):
            collect(tmp_path, tmp_path / f"{name}.csv")


def test_the_same_row_twice_is_refused(tmp_path):
    a, b = (fragment(tmp_path / f"{n}.csv", {"threshold": 0.3, "value": n}) for n in (1, 2))
    with pytest.raises(ArtefactError, match=r"2\.csv: the row of .*metric miou.* is already in .*1\.csv"):
        collect(tmp_path, a, b)


@pytest.fixture
def run(tmp_path, monkeypatch) -> tuple[PlanSettings, list[dict]]:
    """Records of a run of cam and two rounds of erasing, in the working directory."""
    monkeypatch.chdir(tmp_path)
    settings = PlanSettings(config=Config(run="r", seed=5), rounds={"cam": 1, "erasing": 2})
    found = records(Graph(settings.config), settings.rounds)
    for k, file in enumerate(dict.fromkeys(r.file for r in found)):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(
            json.dumps({m: (k + n / 10) / 10 for n, m in enumerate((*ROUND_FIGURES, *TIMING_FIGURES))})
        )
    return settings, found


def test_records_become_rows_a_shared_round_under_each_method(run, tmp_path):
    settings, records = run
    rows = collect(tmp_path, fragment(tmp_path / "a.csv", {}), settings=settings)
    timing = [r for r in rows if r["stage"] == "timing"]
    assert {r["seed"] for r in timing} == {"5"}
    assert len(timing) == 2 * sum(r.kind != "round" for r in records)
    first = {r["method"]: r["value"] for r in timing if r["round"] == "1" and r["metric"] == "seconds"}
    assert set(first) == {"cam", "erasing"}
    assert first["cam"] == first["erasing"]
    figures = [r for r in rows if r["stage"] == "round" and r["method"] == "erasing" and r["round"] == "2"]
    assert {r["metric"] for r in figures} == set(ROUND_FIGURES)
    assert {(r["variant"], r["cycle"]) for r in timing if r["cycle"]} >= {("plain", "0"), ("psl", "1")}


def test_a_record_that_lacks_a_figure_or_is_missing_is_named(run, tmp_path):
    settings, records = run
    file = Path(records[0].file)
    file.write_text('{"seconds": 1}')
    with pytest.raises(ArtefactError, match=r"training\.json: peak_memory_mb missing"):
        collect(tmp_path, settings=settings)
    file.write_text('{"seconds": NaN, "peak_memory_mb": 1}')
    with pytest.raises(ArtefactError, match=r"training\.json: seconds: found nan, expected a finite number"):
        collect(tmp_path, settings=settings)
    file.unlink()
    with pytest.raises(ArtefactError, match=r"training\.json: no such file"):
        collect(tmp_path, settings=settings)


def test_rounds_of_every_method_are_needed(run, tmp_path):
    with pytest.raises(ValueError, match=r"settings\.rounds: found no number for erasing"):
        collect(tmp_path, settings=PlanSettings(config=run[0].config, rounds={"cam": 1}))


def test_what_holds_for_no_threshold_or_round_comes_first(tmp_path):
    rows = (
        [{"threshold": 0.0}, {"threshold": ""}, {"threshold": 0.5}],
        [{"round": 1}, {"round": ""}, {"round": 0}],
        [{"cycle": 1}, {"cycle": ""}, {"cycle": 0}],
    )
    for given in rows:
        (column,) = given[0]
        found = collect(tmp_path, fragment(tmp_path / "a.csv", *given))
        assert [r[column] for r in found] == ["", *sorted(str(row[column]) for row in given if row[column] != "")]
