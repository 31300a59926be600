"""Index, classes and shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsss.files.errors import ArtefactError
from wsss.files.index import INDEX_COLUMNS, ImageIndex, read_classes
from wsss.files.text_files import write_csv, write_json

ROW = {
    "image_id": "a",
    "split": "train",
    "measured": 1,
    "height": 3,
    "width": 4,
    "labels": "cat;dog",
    "image": "images/a.png",
    "mask": "/truth/a.png",
    "instances": "",
    "context": "",
}


def write_index(folder: Path, *rows: dict) -> Path:
    write_csv(
        folder / "classes.csv",
        ("class_id", "name"),
        [{"class_id": k, "name": n} for k, n in enumerate(["background", "dog", "fish", "cat"])],
    )
    write_csv(folder / "index.csv", INDEX_COLUMNS, [ROW | row for row in rows])
    return folder / "index.csv"


def test_a_row_as_stages_see_it(tmp_path):
    index = ImageIndex(write_index(tmp_path, {}))
    row = index.rows["a"]
    assert (index.num_classes, index.class_names) == (3, ["background", "dog", "fish", "cat"])
    assert (row.split, row.measured, row.height, row.width) == ("train", True, 3, 4)
    assert row.labels.tolist() == [1, 0, 1]
    assert row.class_ids.tolist() == [1, 3]
    assert (row.labels.dtype, row.class_ids.dtype) == (np.uint8, np.uint8)
    assert (row.image, row.mask) == (
        tmp_path / "images/a.png",
        Path("/truth/a.png"),
    )  # relative to the index, or absolute
    assert row.instances is None
    assert row.context is None


def test_splits_keep_the_order_and_unknown_ones_are_refused(tmp_path):
    index = ImageIndex(
        write_index(tmp_path, {"image_id": "z"}, {"image_id": "v", "split": "val"}, {"image_id": "a", "labels": ""})
    )
    assert [r.image_id for r in index.split("train")] == ["z", "a"]
    assert [r.image_id for r in index.split("val")] == ["v"]
    assert index.rows["a"].class_ids.size == 0
    for wrong in ("", "test"):
        with pytest.raises(ValueError, match="expected train or val"):
            index.split(wrong)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{}, {}], "image a has two rows"),
        ([{"labels": "cat;hamster"}], "image a: class 'hamster' is not in classes.csv"),
        ([{}, {"image_id": "b", "height": ""}], "row 3 is malformed"),
        ([{"width": "wide"}], "row 2 is malformed"),
        ([{"image": ""}], "row 2 is malformed"),
        ([{"split": "test"}], "row 2 is malformed"),
    ],
)
def test_a_malformed_index_is_named(tmp_path, rows, words):
    with pytest.raises(ArtefactError, match=rf"index\.csv: .*{words}"):
        ImageIndex(write_index(tmp_path, *rows))


def test_other_columns_a_short_row_and_missing_files_are_named(tmp_path):
    path = write_index(tmp_path, {})
    whole = path.read_text()
    path.write_text(whole + "b,train\n")
    with pytest.raises(ArtefactError, match=r"index\.csv: row 3 is malformed"):
        ImageIndex(path)
    path.write_text(whole.replace("measured", "counted"))
    with pytest.raises(ArtefactError, match=r"found columns .*counted"):
        ImageIndex(path)
    path.unlink()
    with pytest.raises(ArtefactError, match=r"index\.csv: no such file; run the workflow"):
        ImageIndex(path)
    (tmp_path / "classes.csv").unlink()
    with pytest.raises(ArtefactError, match=r"classes\.csv: no such file"):
        ImageIndex(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "class_id,name\n",
        "name\nbackground\n",
        "class_id,name\n0,background\n2,cat\n",
        "class_id,name\n0,background\n1,\n",
        "class_id,name\n1,cat\n0,background\n",
    ],
)
def test_malformed_classes_are_refused(tmp_path, text):
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(ArtefactError, match=r"classes\.csv: expected the columns class_id,name"):
        read_classes(tmp_path / "classes.csv")


def test_a_shard_is_a_list_of_rows(tmp_path):
    index = ImageIndex(write_index(tmp_path, {"image_id": "a"}, {"image_id": "b"}))
    path = tmp_path / "shards" / "train-0.csv"
    for ids in (["b", "a"], []):
        write_csv(path, ("image_id",), [{"image_id": i} for i in ids])
        assert [r.image_id for r in index.shard(path)] == ids
    path.write_text("image_id\nc\n")
    with pytest.raises(ArtefactError, match=r"train-0\.csv: image 'c' is not in .*index\.csv"):
        index.shard(path)
    path.write_text("name\na\n")
    with pytest.raises(ArtefactError, match=r"train-0\.csv: found columns \['name'\]"):
        index.shard(path)


def test_the_mean_colour(tmp_path):
    index = ImageIndex(write_index(tmp_path, {}))
    with pytest.raises(ArtefactError, match=r"statistics\.json: no such file"):
        _ = index.mean_rgb
    for content in (
        [],
        {},
        {"mean_rgb": "red"},
        {"mean_rgb": [1, 2]},
        {"mean_rgb": [1, 2, 256]},
        {"mean_rgb": {"r": 1}},
    ):
        write_json(tmp_path / "statistics.json", content)
        with pytest.raises(ArtefactError, match=r"statistics\.json: expected mean_rgb of three numbers in \[0, 255\]"):
            _ = index.mean_rgb
    write_json(tmp_path / "statistics.json", {"mean_rgb": [1, 2, 3.5]})
    np.testing.assert_array_equal(index.mean_rgb, np.array([1, 2, 3.5], np.float32))
    for wrong in ([1, 2], [-1, 2, 3], [1, 2, 256]):
        write_json(tmp_path / "statistics.json", {"mean_rgb": wrong})
        with pytest.raises(ArtefactError, match=r"expected mean_rgb of three numbers in \[0, 255\]"):
            _ = ImageIndex(tmp_path / "index.csv").mean_rgb


def test_truth_of_images_counts_only_where_the_index_says_so(tmp_path):
    index = ImageIndex(write_index(tmp_path, {"measured": 0}, {"image_id": "b", "measured": 1}))
    assert [row.measured for row in index.rows.values()] == [False, True]
