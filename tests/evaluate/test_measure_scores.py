"""Rows of the threshold sweep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsss.files.errors import ArtefactError
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.store import MapWriter
from wsss.settings.stage_settings import RowKeys, SweepSettings
from wsss.stages.evaluate.measure_scores import measure_scores

ROW = RowKeys(run="r", method="cam", stage="scores", round=1, split="train")


def write_scores(path: Path, maps: dict[str, tuple[list[int], list]]) -> Path:
    with MapWriter(path, stage="extract_scores", settings={}) as writer:
        for image_id, (class_ids, values) in maps.items():
            writer.write(image_id, class_ids, scores=np.asarray(values, np.float16))
    return path


def measure(truth_set, tmp_path, maps, *, row=ROW, **settings) -> Path:
    out = tmp_path / "out.csv"
    measure_scores(index=truth_set.index, maps=maps, row=row, settings=SweepSettings(**settings), output=out)
    return out


@pytest.fixture
def one(truth_set, tmp_path):
    """One row of four pixels: scores 1, 0.8, 0.4, 0.2 of the maximum; the train covers the first two."""
    truth_set.add("a", [[1, 1, 0, 0]], labels=[1])
    return truth_set, [write_scores(tmp_path / "a.h5", {"a": ([1], [[[5, 4, 2, 1]]])})]


def test_a_closed_form(one, tmp_path, figures_of):
    f = figures_of(measure(*one[:1], tmp_path, one[1], threshold=0.3, sweep_steps=11))
    assert f("miou_best") == 1
    # the score 4 / (5 + 1e-5) is just below the threshold 0.8, 2 / (5 + 1e-5) below 0.4: the lowest perfect one
    assert f.threshold("miou_best") == pytest.approx(0.4)
    assert f("miou") == pytest.approx((1 / 2 + 2 / 3) / 2)  # 0.3: three pixels of the train, background 1 of 2
    assert f.threshold("miou") == pytest.approx(0.3)
    assert f("precision", threshold=0.3) == pytest.approx((1 + 2 / 3) / 2)
    assert f("recall", threshold=0.3) == pytest.approx((1 / 2 + 1) / 2)
    assert f("iou", "train", threshold=0.3) == pytest.approx(2 / 3)
    assert f("iou", "train", threshold=0.4) == 1
    assert f("iou", "dog") is None  # does not occur
    assert f("images") == 1


def test_every_threshold_has_its_row_the_configured_one_too(one, tmp_path, figures_of):
    f = figures_of(measure(*one[:1], tmp_path, one[1], threshold=0.123, sweep_steps=11))
    expected = sorted([*(k / 10 for k in range(11)), 0.123])
    for metric in ("miou_curve", "precision", "recall"):
        assert sorted(f.table[f.table["metric"] == metric]["threshold"]) == pytest.approx(expected)
    assert f("miou") == f("miou_curve", threshold=0.123)
    assert f("miou_best") == f.table[f.table["metric"] == "miou_curve"]["value"].max()


def test_the_best_is_the_lowest_of_equals(one, tmp_path, figures_of):
    f = figures_of(measure(*one[:1], tmp_path, one[1], sweep_steps=101))
    perfect = f.table[(f.table["metric"] == "miou_curve") & (f.table["value"] == 1)]["threshold"]
    assert len(perfect) > 30
    assert f.threshold("miou_best") == perfect.min()


def test_shards_do_not_matter(truth_set, tmp_path, figures_of):
    rng = np.random.default_rng(0)
    maps = {}
    for k in range(5):
        truth_set.add(f"i{k}", rng.integers(0, 4, (9, 11)), labels=[1, 3])
        maps[f"i{k}"] = ([1, 3], rng.normal(size=(2, 3, 4)))
    whole = [write_scores(tmp_path / "whole.h5", maps)]
    parts = [write_scores(tmp_path / f"{n}.h5", dict(list(maps.items())[n * 3 : n * 3 + 3])) for n in (0, 1)]
    parts.append(write_scores(tmp_path / "empty.h5", {}))
    first = measure(truth_set, tmp_path, whole).read_bytes()
    assert measure(truth_set, tmp_path, parts[::-1]).read_bytes() == first


def test_the_background_map_is_left_out(truth_set, tmp_path, figures_of):
    truth_set.add("a", [[1, 1, 0, 0]], labels=[1])
    maps = [write_scores(tmp_path / "a.h5", {"a": ([0, 1], [[[9, 9, 9, 9]], [[5, 4, 2, 1]]])})]
    assert figures_of(measure(truth_set, tmp_path, maps))("miou_best") == 1


def test_only_measured_images_of_the_split_with_a_mask_count(one, tmp_path, figures_of):
    truth_set, maps = one
    truth_set.add("unmeasured", [[1, 1, 1, 1]], labels=[1], measured=0)
    truth_set.add("without", None, labels=[1])
    truth_set.add("val", [[1, 1, 1, 1]], labels=[1], split="val")
    f = figures_of(measure(truth_set, tmp_path, maps))
    assert (f("images"), f("miou_best")) == (1, 1)


def test_without_truth_there_is_a_header_and_a_zero(truth_set, tmp_path):
    truth_set.add("a", None, labels=[1])
    maps = [write_scores(tmp_path / "a.h5", {"a": ([1], [[[5, 4]]])})]
    lines = measure(truth_set, tmp_path, maps).read_text().splitlines()
    assert lines == [",".join(METRIC_COLUMNS), "r,cam,,scores,1,,train,0,,images,,0"]


def test_scores_that_are_nowhere_positive_are_said_aloud(truth_set, tmp_path, figures_of, capsys):
    for k in range(4):
        truth_set.add(f"i{k}", [[1, 0]], labels=[1])
    maps = [write_scores(tmp_path / "a.h5", {f"i{k}": ([1], [[[-1, -2]]]) for k in range(4)})]
    f = figures_of(measure(truth_set, tmp_path, maps))
    assert f("warning_all_background") == 1
    assert "no score of 4 images" in capsys.readouterr().err
    assert f("miou_best") == pytest.approx(0.25)  # background 4 of 8, the train 0


def test_missing_and_unfit_files_are_named_and_leave_nothing(truth_set, tmp_path):
    truth_set.add("a", [[1, 0]], labels=[1])
    with pytest.raises(ArtefactError, match="image a is in none of"):
        measure(truth_set, tmp_path, [write_scores(tmp_path / "b.h5", {})])
    maps = [write_scores(tmp_path / "a.h5", {"a": ([1], [[[5, 4]]])})]
    truth_set.rows[0]["width"] = 3
    with pytest.raises(ArtefactError, match=r"a\.mask\.png: maps are \(1, 1, 3\)"):
        measure(truth_set, tmp_path, maps)
    with pytest.raises(ValueError, match="expected train or val"):
        measure(truth_set, tmp_path, maps, row=RowKeys(stage="scores"))
    assert not (tmp_path / "out.csv").exists()
