"""The table method × stage, the headline and the warnings."""

from __future__ import annotations

import pytest

from wsss.stages.report.faults import warnings
from wsss.stages.report.gather import Key, Metrics, Value
from wsss.stages.report.tables import detail_table, headline, segmenter_table, stage_table


def stage(method, kind, *, round=None, variant="", cycle=None, split="train"):
    return {
        "method": method,
        "stage": kind,
        "round": round,
        "variant": variant,
        "cycle": cycle,
        "split": split,
        "files": [f"{method}-{kind}-{round}-{variant}-{cycle}-{split}"],
    }


STAGES = [
    stage("cam", "scores", round=1), stage("cam", "fused"), stage("cam", "seed"), stage("cam", "pseudo", variant="plain", cycle=0),
    stage("erasing", "scores", round=1), stage("erasing", "scores", round=2), stage("erasing", "fused"), stage("erasing", "seed"), stage("erasing", "pseudo", variant="plain", cycle=0),
    *(stage("erasing", "prediction", variant=v, cycle=0, split=s) for v in ("plain", "psl") for s in ("train", "val")),
    stage("erasing", "pseudo", variant="psl", cycle=1), *(stage("erasing", "prediction", variant="psl", cycle=1, split=s) for s in ("train", "val")),
    *(stage("full", "prediction", variant="plain", cycle=0, split=s) for s in ("train", "val")),
]  # fmt: skip
PLAN = {"methods": ["cam", "erasing"], "stages": STAGES, "cues": {"cam": "barrier", "erasing": "barrier"}}


def numbers(**figures):
    """Metrics from `{index of the stage: mIoU}` given as s0=0.5."""
    values = {}
    for name, value in figures.items():
        row = STAGES[int(name[1:])]
        metric, threshold = ("miou_best", 0.2) if row["stage"] in ("scores", "fused") else ("miou", None)
        values[Key.of(row)] = [Value(metric=metric, name="", threshold=threshold, value=value)]
    return Metrics(values=values)


ALL = numbers(
    s0=0.40,
    s1=0.40,
    s2=0.35,
    s3=0.42,
    s4=0.40,
    s5=0.30,
    s6=0.45,
    s7=0.41,
    s8=0.48,
    s9=0.50,
    s10=0.46,
    s11=0.53,
    s12=0.49,
    s13=0.55,
    s14=0.57,
    s15=0.52,
    s16=0.80,
    s17=0.65,
)


def test_rows_are_methods_and_columns_follow_the_data():
    table = stage_table(PLAN, ALL)
    assert [(c.group, c.name) for c in table.columns] == [
        ("scores of round, best threshold", "1"), ("scores of round, best threshold", "2"), ("fused", "best thr."), ("seed", "mIoU"), ("seed", "coverage"), ("pseudo", "mIoU"),
    ]  # fmt: skip
    assert {method: [c.text for c in cells] for method, cells in table.rows} == {
        "cam": ["40.0", "–", "40.0", "35.0", "–", "42.0"], "erasing": ["40.0", "30.0", "45.0", "41.0", "–", "48.0"],
    }  # fmt: skip
    assert table.groups == [("scores of round, best threshold", 2), ("fused", 1), ("seed", 2), ("pseudo", 1)]


def test_a_segmenter_is_a_row_with_what_trained_it_and_its_share_of_full_supervision():
    table = segmenter_table(PLAN, ALL)
    assert table.columns == ["pseudo mask, train", "prediction, train", "prediction, val", "weak / full, val"]
    assert [(m, v, c, [cell.text for cell in cells]) for m, v, c, cells in table.rows] == [
        ("erasing", "plain", 0, ["48.0", "50.0", "46.0", "70.8"]), ("erasing", "psl", 0, ["48.0", "53.0", "49.0", "75.4"]),
        ("erasing", "psl", 1, ["55.0", "57.0", "52.0", "80.0"]), ("full", "plain", 0, ["–", "80.0", "65.0", "–"]),
    ]  # fmt: skip


def test_without_the_reference_there_is_no_share_and_without_segmenters_no_row():
    plan = PLAN | {"stages": [s for s in STAGES if s["method"] != "full"]}
    table = segmenter_table(plan, ALL)
    assert not table.full
    assert [len(cells) for *_, cells in table.rows] == [3, 3, 3] == [len(table.columns)] * 3
    assert segmenter_table(PLAN | {"stages": STAGES[:4]}, ALL).rows == []


def test_the_best_of_a_column_is_marked_and_the_reference_never():
    assert {(m, c.text) for m, cells in stage_table(PLAN, ALL).rows for c in cells if c.best} == {
        ("erasing", t) for t in ("45.0", "41.0", "48.0")
    }
    marked = {(m, v, k, c.text) for m, v, k, cells in segmenter_table(PLAN, ALL).rows for c in cells if c.best}
    assert marked == {("erasing", "psl", 1, t) for t in ("55.0", "57.0", "52.0", "80.0")}


def test_one_method_alone_marks_nothing():
    plan = PLAN | {"methods": ["cam"], "stages": STAGES[:4]}
    assert not any(c.best for _, cells in stage_table(plan, ALL).rows for c in cells)


def test_headline_names_the_best_masks_and_weak_over_full():
    sentence = headline(PLAN, ALL).sentence
    assert "55.0 mIoU on training images (erasing · psl, cycle 1)" in sentence
    assert "52.0 mIoU on validation images (erasing · psl, cycle 1)" in sentence
    assert "80 % of the same network trained with full masks (65.0)" in sentence
    assert sentence.startswith("From image-level labels alone,")


def test_headline_gives_the_final_prediction_even_if_an_earlier_one_is_better():
    assert (
        "the final prediction 40.0 mIoU on validation images (erasing · psl, cycle 1)"
        in headline(PLAN, numbers(s8=0.48, s12=0.60, s15=0.40)).sentence
    )


def test_headline_does_not_claim_labels_alone_with_trained_saliency():
    assert "a trained saliency model" in headline(PLAN | {"cues": {"cam": "barrier", "erasing": "u2net"}}, ALL).sentence


def test_headline_without_numbers_and_with_seeds_only():
    assert "none of them is measured" in headline(PLAN, Metrics()).sentence
    assert "seeds reach 35.0 mIoU" in headline(PLAN, numbers(s0=0.4, s2=0.35)).sentence


def faults(values, *, row=2, truth=True):
    metrics = Metrics(
        values={Key.of(STAGES[row]): [Value(metric=m, name=n, threshold=t, value=v) for m, n, t, v in values]}
    )
    return warnings(
        {"methods": ["cam"], "stages": [STAGES[row]]},
        metrics,
        class_names=["background", "a", "b", "c"],
        has_truth=truth,
    )


@pytest.mark.parametrize(
    ("values", "level", "text"),
    [
        (
            [
                ("iou", "background", None, 0.7),
                ("iou", "a", None, 0.0),
                ("iou", "b", None, 0.0),
                ("iou", "c", None, 0.0),
            ],
            "bad",
            "all background",
        ),
        (
            [
                ("iou", "background", None, 0.7),
                ("iou", "a", None, 0.4),
                ("iou", "b", None, 0.0),
                ("iou", "c", None, 0.0),
            ],
            "bad",
            "only a is ever found",
        ),
        ([("iou", "a", None, 0.4), ("iou", "b", None, 0.3), ("iou", "c", None, 0.0)], "note", "IoU 0 for c"),
        ([("coverage", "", None, 0.01)], "bad", "only 1.0 % of the pixels"),
        ([("coverage", "", None, 0.2)], "note", "only 20.0 % of the pixels"),
    ],
)
def test_silent_failures_are_said(values, level, text):
    assert [(lvl, text in t) for lvl, t in faults(values)] == [(level, True)]


def test_thresholds_at_the_edge_and_far_from_the_best_are_said():
    curve = [("miou_curve", "", t, v) for t, v in ((0.0, 0.5), (0.5, 0.4), (1.0, 0.1))]
    found = faults([("miou_best", "", 0.0, 0.5), ("miou", "", 0.5, 0.4), *curve], row=0)
    assert [t.split(": ")[1][:24] for _, t in found] == ["the best threshold, 0, i", "the configured threshold"]


@pytest.mark.parametrize(
    ("metric", "name", "level", "text"),
    [
        ("warning_all_background", "", "bad", "every mask is background"),
        ("warning_single_class", "", "bad", "a single class"),
        ("warning_empty_class", "b", "bad", "no pixel of b, which the labels name"),
        ("warning_of_tomorrow", "", "note", "warning_of_tomorrow"),
    ],
)
def test_what_evaluation_counted_is_said_without_truth_too(metric, name, level, text):
    found = faults([(metric, name, None, 1.0)], truth=False)
    assert [(lvl, text in t) for lvl, t in found] == [(level, True)]


def test_details_hold_every_metric_that_some_artefact_has():
    key = Key.of(STAGES[2])
    rows = [
        Value(metric="miou", name="", threshold=None, value=0.5),
        Value(metric="confusion_ratio", name="train", threshold=None, value=1.25),
    ]
    table = detail_table(PLAN, Metrics(values={key: rows}), maps=False)
    assert table.names == ["miou", "confusion_ratio"]
    assert dict(table.rows)["cam, seed (train)"] == ["50.0", "1.25 (train)"]
    assert dict(table.rows)["erasing, seed (train)"] == ["–", "–"]
    assert detail_table(PLAN, Metrics(), maps=True).rows == []


def test_a_sound_artefact_raises_nothing_and_an_unmeasured_one_does():
    assert faults([("iou", "a", None, 0.4), ("iou", "b", None, 0.3), ("coverage", "", None, 0.9)]) == []
    assert warnings(
        {"methods": ["cam"], "stages": STAGES[:1]}, Metrics(), class_names=["background"], has_truth=True
    ) == [("note", "cam, round 1, scores (train): no numbers in metrics.csv")]
    assert (
        warnings({"methods": ["cam"], "stages": STAGES[:1]}, Metrics(), class_names=["background"], has_truth=False)
        == []
    )


def test_steps_down_are_said():
    found = [
        t
        for _, t in warnings(
            PLAN,
            numbers(
                **{
                    f"s{k}": v
                    for k, v in enumerate(
                        [
                            0.4,
                            0.4,
                            0.5,
                            0.42,
                            0.4,
                            0.3,
                            0.35,
                            0.41,
                            0.48,
                            0.3,
                            0.46,
                            0.53,
                            0.49,
                            0.55,
                            0.57,
                            0.52,
                            0.8,
                            0.65,
                        ]
                    )
                }
            ),
            class_names=["background"],
            has_truth=True,
        )
    ]
    assert found == [
        "cam: refining lowered mIoU from 50.0 to 42.0", "erasing: fused scores (35.0) are below round 1's (40.0): later rounds add wrong regions",
        "erasing · plain, cycle 0, prediction (train): 30.0, below the pseudo masks of cycle 0 (48.0)",
    ]  # fmt: skip
