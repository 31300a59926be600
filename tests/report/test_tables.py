"""The table method × stage, the segmenters, details and the headline."""

from __future__ import annotations

from dataclasses import replace

from tests.report.drawn_plan import ALL, ARTEFACTS, PLAN, numbers
from tests.report.sample_run import metrics_of
from wsss.stages.report.tables import detail_table, headline, segmenter_table, stage_table

SCORES = "scores of round, best threshold"


def test_rows_are_methods_and_columns_follow_the_data():
    table = stage_table(PLAN, ALL)
    assert [(c.group, c.name) for c in table.columns] == [
        (SCORES, "1"),
        (SCORES, "2"),
        ("fused", "best thr."),
        ("seed", "mIoU"),
        ("seed", "coverage"),
        ("pseudo", "mIoU"),
    ]
    assert {method: [c.text for c in cells] for method, cells in table.rows} == {
        "cam": ["40.0", "–", "40.0", "35.0", "–", "42.0"],
        "erasing": ["40.0", "30.0", "45.0", "41.0", "–", "48.0"],
    }
    assert table.groups == [(SCORES, 2), ("fused", 1), ("seed", 2), ("pseudo", 1)]


def test_a_segmenter_is_a_row_with_what_trained_it_and_its_share_of_full_supervision():
    table = segmenter_table(PLAN, ALL)
    assert table.columns == ["pseudo mask, train", "prediction, train", "prediction, val", "weak / full, val"]
    assert [(m, v, c, [cell.text for cell in cells]) for m, v, c, cells in table.rows] == [
        ("erasing", "plain", 0, ["48.0", "50.0", "46.0", "70.8"]),
        ("erasing", "psl", 0, ["48.0", "53.0", "49.0", "75.4"]),
        ("erasing", "psl", 1, ["55.0", "57.0", "52.0", "80.0"]),
        ("full", "plain", 0, ["–", "80.0", "65.0", "–"]),
    ]


def test_without_the_reference_there_is_no_share_and_without_segmenters_no_row():
    table = segmenter_table(replace(PLAN, artefacts=[a for a in ARTEFACTS if a.method != "full"]), ALL)
    assert not table.full
    assert [len(cells) for *_, cells in table.rows] == [3, 3, 3] == [len(table.columns)] * 3
    assert segmenter_table(replace(PLAN, artefacts=ARTEFACTS[:4]), ALL).rows == []


def test_the_best_of_a_column_is_marked_and_the_reference_never():
    best = {(m, c.text) for m, cells in stage_table(PLAN, ALL).rows for c in cells if c.best}
    assert best == {("erasing", t) for t in ("45.0", "41.0", "48.0")}
    marked = {(m, v, k, c.text) for m, v, k, cells in segmenter_table(PLAN, ALL).rows for c in cells if c.best}
    assert marked == {("erasing", "psl", 1, t) for t in ("55.0", "57.0", "52.0", "80.0")}


def test_one_method_alone_marks_nothing():
    plan = replace(PLAN, methods=["cam"], artefacts=ARTEFACTS[:4])
    assert not any(c.best for _, cells in stage_table(plan, ALL).rows for c in cells)


def test_details_hold_every_metric_that_some_artefact_has():
    seed = ARTEFACTS[2].key
    metrics = metrics_of((seed, "miou", "", None, 0.5), (seed, "confusion_ratio", "train", None, 1.25))
    table = detail_table(PLAN, metrics, maps=False)
    assert table.names == ["miou", "confusion_ratio"]
    assert dict(table.rows)["cam, seed (train)"] == ["50.0", "1.25 (train)"]
    assert dict(table.rows)["erasing, seed (train)"] == ["–", "–"]
    assert detail_table(PLAN, metrics_of(), maps=True).rows == []


def test_headline_names_the_best_masks_and_weak_over_full():
    found = headline(PLAN, ALL)
    assert found.sentence == (
        "From image-level labels alone, "
        "the best pseudo masks reach 55.0 mIoU on training images (erasing · psl, cycle 1) "
        "and the final prediction 52.0 mIoU on validation images (erasing · psl, cycle 1). "
        "That is 80 % of the same network trained with full masks (65.0)."
    )
    assert found.tiles == [
        ("45.0", "mIoU", "Fused scores · erasing"),
        ("41.0", "mIoU", "Seeds · erasing"),
        ("55.0", "mIoU", "Pseudo masks · erasing"),
        ("52.0", "mIoU", "Prediction, val · erasing"),
        ("80", "%", "of full supervision"),
    ]


def test_headline_gives_the_final_prediction_even_if_an_earlier_one_is_better():
    sentence = headline(PLAN, numbers({8: 0.48, 12: 0.60, 15: 0.40})).sentence
    assert "the final prediction 40.0 mIoU on validation images (erasing · psl, cycle 1)" in sentence


def test_headline_names_exported_masks():
    exported = replace(ARTEFACTS[13], exported=True)
    plan = replace(PLAN, artefacts=[*ARTEFACTS[:13], exported, *ARTEFACTS[14:]])
    assert "55.0 mIoU on training images (erasing · psl, exported masks)" in headline(plan, ALL).sentence


def test_headline_does_not_claim_labels_alone_with_trained_saliency():
    plan = replace(PLAN, cues={"cam": "barrier", "erasing": "u2net"})
    assert "a trained saliency model" in headline(plan, ALL).sentence


def test_headline_without_numbers_and_with_seeds_only():
    assert "none of them is measured" in headline(PLAN, metrics_of()).sentence
    assert "the best seeds reach 35.0 mIoU" in headline(PLAN, numbers({0: 0.4, 2: 0.35})).sentence
