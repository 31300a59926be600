"""Silent failures, and steps that made things worse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.report.drawn_plan import ARTEFACTS, MIOU, PLAN, numbers
from tests.report.sample_run import metrics_of
from wsss.stages.report.faults import warnings

NAMES = ["background", "a", "b", "c"]
SCORES, SEED = ARTEFACTS[0], ARTEFACTS[2]


def faults(*rows, artefact=SEED, truth=True):
    """Warnings of one artefact with these rows: metric, class, threshold, value."""
    plan = replace(PLAN, methods=["cam"], artefacts=[artefact])
    metrics = metrics_of(*((artefact.key, *row) for row in rows))
    return warnings(plan, metrics, class_names=NAMES, has_truth=truth)


def ious(**values):
    return [("iou", name, None, value) for name, value in values.items()]


@pytest.mark.parametrize(
    ("rows", "level", "text"),
    [
        (ious(background=0.7, a=0.0, b=0.0, c=0.0), "bad", "all background"),
        (ious(background=0.7, a=0.4, b=0.0, c=0.0), "bad", "only a is ever found"),
        (ious(a=0.4, b=0.3, c=0.0), "note", "IoU 0 for c"),
        ([("coverage", "", None, 0.01)], "bad", "only 1.0 % of the pixels"),
        ([("coverage", "", None, 0.2)], "note", "only 20.0 % of the pixels"),
    ],
)
def test_silent_failures_are_reported(rows, level, text):
    assert [(found, text in words) for found, words in faults(*rows)] == [(level, True)]


def test_thresholds_at_the_edge_and_far_from_the_best_are_reported():
    curve = [("miou_curve", "", t, v) for t, v in ((0.0, 0.5), (0.5, 0.4), (1.0, 0.1))]
    assert faults(("miou_best", "", 0.0, 0.5), ("miou", "", 0.5, 0.4), *curve, artefact=SCORES) == [
        (
            "note",
            "cam, round 1, scores (train): the best threshold, 0, is at the edge of the sweep; "
            "widen evaluate.sweep_max, or the scores carry little",
        ),
        ("note", "cam, round 1, scores (train): the configured threshold 0.5 costs 10.0 points against 0"),
    ]
    assert faults(("miou_best", "", 0.5, 0.5), ("miou", "", 0.0, 0.46), *curve, artefact=SCORES) == []


@pytest.mark.parametrize(
    ("metric", "name", "level", "text"),
    [
        ("warning_all_background", "", "bad", "every mask is background"),
        ("warning_single_class", "", "bad", "a single class"),
        ("warning_empty_class", "b", "bad", "no pixel of b, which the labels name"),
        ("warning_of_tomorrow", "", "note", "warning_of_tomorrow"),
    ],
)
def test_what_evaluation_counted_is_reported_without_truth_too(metric, name, level, text):
    found = faults((metric, name, None, 1.0), truth=False)
    assert [(lvl, text in words) for lvl, words in found] == [(level, True)]


def test_a_sound_artefact_raises_nothing_and_an_unmeasured_one_does():
    assert faults(*ious(a=0.4, b=0.3), ("coverage", "", None, 0.9)) == []
    assert faults(artefact=SCORES) == [("note", "cam, round 1, scores (train): no numbers in metrics.csv")]
    assert faults(artefact=SCORES, truth=False) == []


def test_steps_down_are_reported():
    worse = dict(enumerate(MIOU)) | {2: 0.5, 6: 0.35, 9: 0.3}
    found = warnings(PLAN, numbers(worse), class_names=["background"], has_truth=True)
    assert [text for _, text in found] == [
        "cam: refining lowered mIoU from 50.0 to 42.0",
        "erasing: fused scores (35.0) are below round 1's (40.0): later rounds add wrong regions",
        "erasing · plain, cycle 0, prediction (train): 30.0, below the pseudo masks of cycle 0 (48.0)",
    ]
