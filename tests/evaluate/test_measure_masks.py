"""Rows of measured masks, the confusion ratio, and the guards against silent failures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsss.files.errors import ArtefactError
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.store import MapWriter
from wsss.settings.stage_settings import RowKeys
from wsss.stages.evaluate.measure_masks import measure_masks


def row(stage: str = "seed", split: str = "train") -> RowKeys:
    return RowKeys(run="r", method="cam", stage=stage, split=split, seed=3)


def measure(truth_set, tmp_path, masks: dict[str, list], keys: RowKeys | None = None) -> Path:
    with MapWriter(tmp_path / "m.h5", stage="make_seeds", settings={}) as writer:
        for image_id, mask in masks.items():
            writer.write(image_id, [], mask=np.asarray(mask, np.uint8))
    measure_masks(index=truth_set.index, maps=[tmp_path / "m.h5"], row=keys or row(), output=tmp_path / "out.csv")
    return tmp_path / "out.csv"


def test_a_closed_form_with_unlabelled_pixels(truth_set, tmp_path, figures_of):
    """Truth: 4 background, 4 train, 2 left out.

    Guess: background 3 right, 1 unlabelled; train 2 right, 1 background, 1 unlabelled.
    """
    truth_set.add("a", [[0, 0, 0, 0, 255], [1, 1, 1, 1, 255]], labels=[1])
    f = figures_of(measure(truth_set, tmp_path, {"a": [[0, 0, 0, 255, 2], [1, 1, 0, 255, 255]]}))
    assert f("images") == 1
    assert f("miou") == pytest.approx((3 / 5 + 2 / 4) / 2)
    assert f("miou_labelled") == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert f("coverage") == pytest.approx(6 / 8)
    assert f("precision") == f("precision_labelled") == pytest.approx((3 / 4 + 1) / 2)
    assert f("recall") == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert f("pixel_accuracy") == pytest.approx(5 / 8)
    assert (f("iou", "background"), f("iou", "train"), f("iou", "dog")) == (
        pytest.approx(3 / 5),
        pytest.approx(2 / 4),
        None,
    )
    assert (f("precision", "background"), f("recall", "train")) == (pytest.approx(3 / 4), pytest.approx(2 / 4))
    assert set(f.table["seed"]) == {3}


def test_predictions_have_no_figures_about_255_and_must_not_hold_it(truth_set, tmp_path, figures_of):
    truth_set.add("a", [[0, 1]], labels=[1], split="val")
    f = figures_of(measure(truth_set, tmp_path, {"a": [[0, 1]]}, row("prediction", "val")))
    assert f("miou") == 1
    assert not {"miou_labelled", "coverage", "precision_labelled"} & set(f.table["metric"])
    with pytest.raises(ArtefactError, match="image a: the prediction holds 255"):
        measure(truth_set, tmp_path, {"a": [[0, 255]]}, row("prediction", "val"))


def test_without_truth_there_is_a_header_and_a_zero(truth_set, tmp_path):
    truth_set.add("a", None, labels=[1])
    truth_set.add("b", [[1, 1], [1, 1]], labels=[1], measured=0)
    lines = measure(truth_set, tmp_path, {i: [[0, 1], [1, 1]] for i in "ab"}).read_text().splitlines()
    assert lines == [",".join(METRIC_COLUMNS), "r,cam,,seed,,,train,3,,images,,0"]


def test_unfit_masks_are_named(truth_set, tmp_path):
    truth_set.add("a", [[0, 1]], labels=[1])
    for mask, words in (
        ([[0, 1], [0, 1]], r"image a: truth is \(1, 2\), guess \(2, 2\)"),
        ([[0, 9]], "image a: guess holds 9, expected 0..3 or 255"),
    ):
        with pytest.raises(ArtefactError, match=words):
            measure(truth_set, tmp_path, {"a": mask})
    with pytest.raises(ArtefactError, match="image a is in none of"):
        measure(truth_set, tmp_path, {"b": [[0, 1]]})
    with pytest.raises(ValueError, match="expected train or val"):
        measure(truth_set, tmp_path, {"a": [[0, 1]]}, row(split=""))
    assert not (tmp_path / "out.csv").exists()


# ---------------------------------------------------------------- confusion ratio


def test_the_confusion_ratio_by_hand(truth_set, tmp_path, figures_of):
    """Rails lie in two images of trains and one of a dog: 3 px of them are called train, 4 px of trains are right."""
    rails = [[0, 0, 1, 1]]
    truth_set.add("a", [[1, 1, 0, 0]], labels=[1], context=[[0, 1, 1, 1]])  # a pixel of the train itself does not count
    truth_set.add("b", [[1, 1, 0, 0]], labels=[1, 2], context=rails)
    truth_set.add("c", [[2, 2, 0, 0]], labels=[2], context=rails)
    truth_set.add("d", [[2, 2, 0, 0]], labels=[2], context=[[0, 0, 0, 0]])
    truth_set.add("e", [[2, 2, 0, 0]], labels=[2], context=[[0, 0, 0, 0]])
    masks = {"a": [[1, 1, 1, 1]], "b": [[1, 1, 1, 0]], "c": [[2, 2, 2, 0]], "d": [[2, 2, 1, 1]], "e": [[2, 2, 0, 0]]}
    f = figures_of(measure(truth_set, tmp_path, masks))
    assert f("confusion_ratio", "train") == pytest.approx(3 / 4)
    assert (f.table["metric"] == "confusion_ratio").sum() == 1


def test_the_confusion_ratio_is_over_right_pixels_of_the_class_most_often_beside_its_context(
    truth_set, tmp_path, figures_of
):
    """Two images of trains, 3 px of 4 right and 1 px of rails called train.

    In the one of a dog all rails are called dog.
    """
    rails = [[0, 0, 1, 1]]
    truth_set.add("a", [[1, 1, 0, 0]], labels=[1], context=rails)
    truth_set.add("b", [[1, 1, 0, 0]], labels=[1], context=rails)
    truth_set.add("c", [[2, 2, 0, 0]], labels=[2], context=rails)
    f = figures_of(measure(truth_set, tmp_path, {"a": [[1, 0, 0, 0]], "b": [[1, 1, 1, 0]], "c": [[2, 2, 2, 2]]}))
    assert f("confusion_ratio", "train") == pytest.approx(1 / 3)
    assert f("confusion_ratio", "dog") is None


def test_no_confusion_ratio_without_context_or_without_a_right_pixel(truth_set, tmp_path, figures_of):
    truth_set.add("a", [[1, 1, 0, 0]], labels=[1], context=[[0, 0, 0, 0]])
    assert "confusion_ratio" not in set(figures_of(measure(truth_set, tmp_path, {"a": [[1, 1, 1, 1]]})).table["metric"])
    truth_set.add("b", [[1, 1, 0, 0]], labels=[1], context=[[0, 0, 1, 1]])
    masks = {"a": [[0, 0, 0, 0]], "b": [[0, 0, 1, 1]]}
    assert "confusion_ratio" not in set(figures_of(measure(truth_set, tmp_path, masks)).table["metric"])


def test_a_context_mask_of_another_size_is_named(truth_set, tmp_path):
    truth_set.add("a", [[1, 1]], labels=[1], context=[[0, 1, 1]])
    with pytest.raises(ArtefactError, match=r"a\.context\.png: \(height, width\) \(1, 3\)"):
        measure(truth_set, tmp_path, {"a": [[1, 1]]})


# ---------------------------------------------------------------- guards


def guards(
    truth_set, tmp_path, figures_of, mask: list, *, count: int = 4, truth: bool = True, labels: tuple[int, ...] = (1, 2)
) -> dict[str, float]:
    for k in range(count):
        truth_set.add(f"i{k}", [[1, 2, 0]] if truth else None, labels=[labels[k % len(labels)]], size=(1, 3))
    t = figures_of(measure(truth_set, tmp_path, {f"i{k}": mask for k in range(count)})).table
    found = t[t["metric"].str.startswith("warning")]
    return {
        m + (f" {c}" if isinstance(c, str) else ""): v
        for m, c, v in zip(found["metric"], found["class"], found["value"], strict=True)
    }


@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize(
    ("mask", "expected", "words"),
    [
        ([[0, 255, 0]], {"warning_all_background": 1}, "all 4 masks are background or unlabelled"),
        ([[0, 2, 2]], {"warning_single_class": 1}, "hold no class except dog"),
        ([[0, 2, 3]], {"warning_empty_class train": 2}, "no pixel of train"),
        ([[0, 1, 2]], {}, ""),
    ],
)
def test_silent_failures_are_warned_of(truth_set, tmp_path, figures_of, capsys, mask, expected, words, truth):
    assert guards(truth_set, tmp_path, figures_of, mask, truth=truth) == expected
    err = capsys.readouterr().err
    assert words in err
    assert bool(err) == bool(expected)


def test_guards_keep_quiet_where_the_result_may_be_true(truth_set, tmp_path, figures_of):
    assert guards(truth_set, tmp_path, figures_of, [[0, 0, 0]], count=3) == {}


def test_one_class_is_right_where_the_labels_name_one(truth_set, tmp_path, figures_of):
    assert guards(truth_set, tmp_path, figures_of, [[0, 1, 1]], labels=(1,)) == {}


def test_an_empty_class_is_counted_with_the_images_that_name_it(truth_set, tmp_path, figures_of):
    """Classes train, dog, cat: 3 images name dog, 1 names cat; dog is never guessed."""
    found = guards(truth_set, tmp_path, figures_of, [[0, 1, 3]], labels=(2, 2, 2, 3))
    assert found == {"warning_empty_class dog": 3}
