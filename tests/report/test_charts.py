"""Charts as markup."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.report.drawn_plan import ARTEFACTS, MIOU, PLAN, numbers
from tests.report.sample_run import make_run
from wsss.stages.report import curves
from wsss.stages.report.charts import Axis, Series, bars, line_chart, ticks
from wsss.stages.report.jobs import read_records
from wsss.stages.report.metrics import read_metrics


def test_points_lie_where_their_values_say():
    svg = line_chart([Series(name="a", points=[(0, 0), (1, 50), (2, 100)])], x=Axis(label="x"), y=Axis(label="y"))
    points = [
        tuple(float(v) for v in p.split(","))
        for p in re.search(r'polyline class="line" points="([^"]+)"', svg).group(1).split()
    ]
    assert points[0][0] < points[1][0] < points[2][0]
    assert points[1] == pytest.approx(((points[0][0] + points[2][0]) / 2, (points[0][1] + points[2][1]) / 2))
    assert points[2][1] < points[0][1]  # up is more


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (31, 64, [40, 50, 60]), (1, 6, [1, 2, 3, 4, 5, 6]), (3, 3, [3])],
)
def test_ticks_are_round_numbers_within_the_limits(low, high, expected):
    assert ticks(low, high) == expected


def test_nothing_to_draw_is_nothing():
    assert line_chart([Series(name="a", points=[])], x=Axis(label="x"), y=Axis(label="y")) == ""


def test_one_point_and_equal_values_can_be_drawn():
    for points in ([(1.0, 2.0)], [(1.0, 2.0), (2.0, 2.0)]):
        assert "nan" not in line_chart([Series(name="a", points=points)], x=Axis(label="x"), y=Axis(label="y"))


def test_names_are_escaped():
    hostile = '<script>"&'
    line = Series(name=hostile, points=[(0, 1), (1, 2)], mark=(1, 2))
    made = line_chart([line], x=Axis(label=hostile), y=Axis(label=hostile)) + bars([(hostile, [(hostile, 0, 0.5)])])
    assert "<script" not in made
    assert 'title=""' not in made


def test_bars_are_as_long_as_their_values():
    assert re.findall(r"--w:([\d.]+)%", bars([("cat", [("seed", 0, 0.25), ("pseudo", 1, None)])])) == ["25.0", "0.0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), full=True)


def test_shared_rounds_are_drawn_once_and_named_after_all_methods(run):
    assert [name for name, _ in curves.swept(run.plan)] == [
        "cam = erasing, round 1",
        "erasing, round 2",
        "erasing, fused",
    ]
    loss = curves.loss_chart(read_records(run.plan), kind="classifier")
    assert loss.count("<polyline") == 2
    assert "cam = erasing, round 1" in loss
    assert curves.loss_chart(read_records(run.plan), kind="segmenter").count("<polyline") == 4


def test_threshold_curves_mark_their_best(run):
    metrics = read_metrics(run.metrics)
    (fused,) = run.plan.find(method="erasing", stage="fused")
    best = f"erasing, fused: best, {100 * metrics.main(fused.key):.4g} at 0.3"
    assert best in curves.threshold_chart(run.plan, metrics)
    assert curves.precision_recall_chart(run.plan, metrics).count("<polyline") == 3


def test_stage_chart_has_a_line_a_variant_and_split(run):
    chart = curves.stage_chart(run.plan, read_metrics(run.metrics))
    assert re.findall(r"</i>([^<]+)</span>", chart) == [
        "cam",
        "erasing · plain",
        "erasing · plain, val",
        "erasing · psl",
        "erasing · psl, val",
    ]
    colours = re.findall(r'<g style="--c:var\(--s(\d)\)', chart)
    assert colours == ["0", "1", "1", "2", "2"]


def test_every_line_of_the_stage_chart_has_its_own_figures():
    chart = curves.stage_chart(PLAN, numbers({k: v for k, v in enumerate(MIOU) if k > 3}))
    points = re.findall(r"<title>([^:]+): (\S+), (\S+)</title>", chart)
    lines = {name: {int(x): y for n, x, y in points if n == name} for name, _, _ in points}
    assert lines == {
        "erasing · plain": {0: "40", 1: "45", 2: "41", 3: "48", 4: "50"},
        "erasing · plain, val": {4: "46"},
        "erasing · psl": {0: "40", 1: "45", 2: "41", 3: "48", 4: "53", 5: "55", 6: "57"},
        "erasing · psl, val": {4: "49", 6: "52"},
    }
    assert re.findall(r'<g style="--c:var\(--s(\d)\)', chart) == ["0", "0", "1", "1"]  # cam has no line


def test_masks_that_no_segmenter_reads_are_called_exported():
    exported = replace(ARTEFACTS[13], cycle=2, exported=True)
    plan = replace(PLAN, artefacts=[*ARTEFACTS, exported])
    names = [step.name.replace("\n", " ") for step in curves._steps(plan)]
    assert names == [
        *("scores best thr.", "fused best thr.", "seed"),
        *("pseudo cycle 0", "prediction cycle 0", "pseudo cycle 1", "prediction cycle 1", "exported masks"),
    ]
    shared = replace(plan, artefacts=[*ARTEFACTS, replace(exported, cycle=1)])  # another variant trains with cycle 1's
    assert "exported\nmasks" not in [step.name for step in curves._steps(shared)]


def test_class_bars_show_each_class_at_each_stage(run):
    metrics = read_metrics(run.metrics)
    made = curves.class_bars(run.plan, metrics, class_names=run.names, method="erasing")
    assert re.findall(r"<h4>([^<]+)</h4>", made) == ["background", "disc", "box"]
    assert made.count('class="bar"') == 15
