"""The index: what is written, what is checked, and that a fault leaves nothing behind."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.files.index import ImageIndex
from wsss.files.text_files import read_json
from wsss.settings.sections import DatasetSection, FolderSection, ScenesSection, ShardsSection, VocSection
from wsss.settings.stage_settings import IndexSettings
from wsss.stages.dataset.faults import DataError
from wsss.stages.dataset.index_images import index_images, split_blocks

RED, BLUE = (200, 10, 0), (0, 20, 100)


def save_plain(path: Path, *, size: tuple[int, int] = (6, 8), colour: tuple[int, int, int] = RED) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], colour).save(path)


def palette_mask(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette([0] * 768)
    image.save(path)


def table(root: Path, text: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_text(text, encoding="utf-8")


def of_folder(root: Path, *, shards: ShardsSection | None = None, **keys: object) -> IndexSettings:
    return IndexSettings(
        dataset=DatasetSection(kind="folder", folder=FolderSection(root=str(root), **keys)),
        shards=shards or ShardsSection(),
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three training images and one for validation, whose faults the tests add."""
    root = tmp_path / "photos"
    save_plain(root / "a.png", size=(4, 4))
    save_plain(root / "b.png", size=(4, 12), colour=BLUE)
    save_plain(root / "more" / "c d.png")
    save_plain(root / "v.png", colour=(255, 255, 255))
    table(root, "image,labels,split\na.png,cat;dog,train\nb.png,dog,train\nmore/c d.png,cat,train\nv.png,dog,val\n")
    return root


def message(settings: IndexSettings, output: Path) -> str:
    """The error, after checking that nothing was written."""
    with pytest.raises(DataError) as caught:
        index_images(settings=settings, output=output)
    assert not output.parent.exists()
    return str(caught.value)


def test_folder_index_reads_back(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "run" / "dataset" / "index.csv"
    index_images(settings=of_folder(photos, shards=ShardsSection(train=2, val=3)), output=output)
    index = ImageIndex(output)
    assert index.class_names == ["background", "cat", "dog"]
    assert list(index.rows) == ["a", "b", "more__c d", "v"]
    row = index.rows["more__c d"]
    assert (row.height, row.width, row.labels.tolist(), row.split, row.mask, row.measured) == (
        6,
        8,
        [1, 0],
        "train",
        None,
        False,
    )
    assert index.rows["a"].labels.tolist() == [1, 1]
    assert row.image == photos / "more" / "c d.png"
    shards = {p.name: [r.image_id for r in index.shard(p)] for p in (output.parent / "shards").iterdir()}
    assert shards == {
        "train-0.csv": ["a", "b"],
        "train-1.csv": ["more__c d"],
        "val-0.csv": ["v"],
        "val-1.csv": [],
        "val-2.csv": [],
    }


def test_mean_colour_is_over_pixels_of_training_images(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "index.csv"
    index_images(settings=of_folder(photos), output=output)
    expected = (
        64 * np.array(RED) + 48 * np.array(BLUE)
    ) / 112  # 16 + 48 red pixels, 48 blue ones; the white validation image does not count
    np.testing.assert_allclose(ImageIndex(output).mean_rgb, expected, atol=1e-4)
    numbers = read_json(output.parent / "statistics.json")
    assert {k: numbers[k] for k in ("images", "train", "val", "measured", "class_images")} == {
        "images": 4, "train": 3, "val": 1, "measured": 0, "class_images": {"cat": 2, "dog": 2}}  # fmt: skip


def test_equal_input_gives_equal_files_and_stale_shards_go(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "index.csv"
    index_images(settings=of_folder(photos, shards=ShardsSection(train=5)), output=output)
    index_images(settings=of_folder(photos), output=output)
    first = {p.name: p.read_bytes() for p in output.parent.rglob("*.*") if p.is_file()}
    assert sorted(p.name for p in (output.parent / "shards").iterdir()) == ["train-0.csv", "val-0.csv"]
    text = (photos / "labels.csv").read_text().splitlines()
    (photos / "labels.csv").write_text("\n".join([text[0], *text[:0:-1]]) + "\n")
    index_images(settings=of_folder(photos), output=output)
    assert {p.name: p.read_bytes() for p in output.parent.rglob("*.*") if p.is_file()} == first


def test_paths_below_the_index_are_relative(tmp_path: Path) -> None:
    root = tmp_path / "dataset" / "photos"
    save_plain(root / "a.png")
    table(root, "image,labels\na.png,cat\n")
    index_images(settings=of_folder(root), output=tmp_path / "dataset" / "index.csv")
    (line,) = csv.DictReader((tmp_path / "dataset" / "index.csv").open())
    assert line["image"] == "photos/a.png"


def test_every_fault_is_in_one_message_and_nothing_is_written(photos: Path, tmp_path: Path) -> None:
    (photos / "empty.png").touch()
    (photos / "text.jpg").write_text("not an image")
    (tmp_path / "outside.png").write_bytes((photos / "a.png").read_bytes())
    os.symlink(tmp_path / "outside.png", photos / "link.png")
    with (photos / "labels.csv").open("a") as file:
        file.write(
            "A.PNG,cat,train\nempty.png,cat,train\ntext.jpg,cat,train\na.png,dog,train\na.png,dog,val\n"
            f"../outside.png,cat,train\n{tmp_path}/outside.png,cat,train\nlink.png,cat,train\n"
            "v2.png,catt,train\nv.png,,train\nb.png,dog,test\nb.png,dog\n"
        )
    text = message(of_folder(photos, classes=["cat", "dog"]), tmp_path / "out" / "index.csv")
    for line in (
        "labels.csv row 6: image", "does not exist; did you mean 'a.png'?",
        "labels.csv row 7: image", "is empty (0 bytes)",
        "labels.csv row 8: image", "cannot be read",
        "labels.csv row 9: image id 'a' occurs before (labels.csv row 2: a.png)",
        "labels.csv row 10: image 'a' is in val and in train (labels.csv row 2)",
        "labels.csv row 11: path '../outside.png' leaves the folder",
        f"labels.csv row 12: path '{tmp_path}/outside.png' leaves the folder",
        "labels.csv row 13: path 'link.png' is a link out of the folder",
        "labels.csv row 14: class 'catt' is not in the dataset's 2 classes; did you mean 'cat'?",
        "labels.csv row 15: image 'v' has no labels",
        "labels.csv row 16: split 'test' is neither 'train' nor 'val'",
        "labels.csv row 17: 2 cells, expected 3 (image,labels,split)",
    ):  # fmt: skip
        assert line in text
    assert text.startswith(f"{photos / 'labels.csv'}: ")


def test_many_faults_are_counted(photos: Path, tmp_path: Path) -> None:
    table(photos, "image,labels\n" + "".join(f"gone{k}.png,cat\n" for k in range(23)))
    text = message(of_folder(photos), tmp_path / "out" / "index.csv")
    assert text.count("does not exist") == 20
    assert "23 faults" in text
    assert "... and 3 more" in text


def test_an_older_index_stays_when_the_data_breaks(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "index.csv"
    index_images(settings=of_folder(photos), output=output)
    before = {p: p.read_bytes() for p in output.parent.rglob("*.*") if p.is_file()}
    (photos / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"row 2: image .*a\.png is empty"):
        index_images(settings=of_folder(photos), output=output)
    assert {p: p.read_bytes() for p in output.parent.rglob("*.*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.zeros((8, 6)), "mask .* is 8 x 6, its image 6 x 8"),
        (np.full((6, 8), 3), "holds 3; legal are 0..2 and 255"),
        (np.arange(48).reshape(6, 8), "holds 3, 4, 5, 6, 7, ...; legal"),
    ],
)
def test_bad_masks_are_refused(photos: Path, tmp_path: Path, values: np.ndarray, found: str) -> None:
    palette_mask(tmp_path / "masks" / "v.png", values)
    with pytest.raises(DataError, match="labels.csv row 5: .*" + found):
        index_images(settings=of_folder(photos, masks=str(tmp_path / "masks")), output=tmp_path / "out" / "index.csv")


def test_masks_may_hold_every_class_and_ignore(photos: Path, tmp_path: Path) -> None:
    values = np.zeros((6, 8))
    values[0, :3] = 1, 2, 255
    palette_mask(tmp_path / "masks" / "more__c d.png", values)
    index_images(settings=of_folder(photos, masks=str(tmp_path / "masks")), output=tmp_path / "out" / "index.csv")
    rows = ImageIndex(tmp_path / "out" / "index.csv").rows
    assert [i for i, r in rows.items() if r.measured] == ["more__c d"]
    assert rows["more__c d"].mask == tmp_path / "masks" / "more__c d.png"


def test_rotated_photographs_have_the_size_that_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 5)).save(root / "a.jpg", exif=exif)
    table(root, "image,labels,mask\na.jpg,cat,a.png\n")
    palette_mask(root / "a.png", np.ones((12, 5)))
    index_images(settings=of_folder(root), output=tmp_path / "out" / "index.csv")
    row = ImageIndex(tmp_path / "out" / "index.csv").rows["a"]
    assert (row.height, row.width) == (12, 5)


def test_odd_images_are_taken(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    Image.fromarray(np.full((4, 5), 40000, np.uint16)).save(root / "deep.png")
    Image.new("CMYK", (5, 4), (0, 255, 255, 0)).save(root / "cmyk.jpg")
    Image.new("RGBA", (5, 4), (10, 20, 30, 0)).save(root / "clear.png")
    Image.new("L", (5, 4), 7).save(root / "grey.png")
    table(root, "image,labels\ndeep.png,cat\ncmyk.jpg,cat\nclear.png,cat\ngrey.png,cat\n")
    index_images(settings=of_folder(root), output=tmp_path / "out" / "index.csv")
    assert {(r.height, r.width) for r in ImageIndex(tmp_path / "out" / "index.csv").rows.values()} == {(4, 5)}


def test_classes_without_training_images_are_warned_of(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index_images(settings=of_folder(photos, classes=["cat", "dog", "emu"]), output=tmp_path / "out" / "index.csv")
    assert "no training image for emu" in capsys.readouterr().err


def test_validation_images_without_labels_are_warned_of(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table(photos, "image,labels,split\na.png,cat,train\nv.png,,val\n")
    index_images(settings=of_folder(photos), output=tmp_path / "out" / "index.csv")
    assert "1 validation images have no labels, e.g. v" in capsys.readouterr().err


def test_scenes_lie_beside_the_index(tmp_path: Path) -> None:
    output = tmp_path / "dataset" / "index.csv"
    settings = IndexSettings(dataset=DatasetSection(scenes=ScenesSection(train=6, val=2, min_side=64, max_side=80)))
    index_images(settings=settings, output=output)
    index = ImageIndex(output)
    assert (len(index.split("train")), len(index.split("val"))) == (6, 2)
    for row in index.rows.values():
        mask = np.asarray(Image.open(row.mask))
        assert mask.shape == (row.height, row.width)
        assert set(np.unique(mask)) - {0, 255} == set(row.class_ids)
        assert row.image.is_file()
        assert row.instances.is_file()
        assert row.context.is_file()
        assert row.measured
    with output.open() as file:
        assert all(not os.path.isabs(line["image"]) for line in csv.DictReader(file))


def test_blocks_are_contiguous_and_even() -> None:
    assert split_blocks(list("abcdefg"), 3) == [["a", "b", "c"], ["d", "e"], ["f", "g"]]
    assert split_blocks(["a"], 3) == [["a"], [], []]
    assert split_blocks([], 2) == [[], []]


def test_real_voc_photographs(shared: Path, tmp_path: Path) -> None:
    """Counts, sizes and labels agree with the table that comes with the subset."""
    root = shared / "data" / "voc12_sub"
    output = tmp_path / "index.csv"
    index_images(
        settings=IndexSettings(
            dataset=DatasetSection(kind="voc", voc=VocSection(root=str(root))), shards=ShardsSection(train=6, val=2)
        ),
        output=output,
    )
    index = ImageIndex(output)
    rows = index.split("train")
    assert (len(rows), sum(r.measured for r in rows), len(index.split("val"))) == (2191, 663, 329)
    assert all(r.measured for r in index.split("val"))
    with (root / "labels.csv").open() as file:
        for line in csv.DictReader(file):
            row = index.rows[line["id"]]
            assert row.labels.tolist() == [int(line[name]) for name in index.class_names[1:]]
            assert (row.height, row.width) == (int(line["h"]), int(line["w"]))
    assert [len(index.shard(output.parent / "shards" / f"train-{n}.csv")) for n in range(6)] == [
        366,
        365,
        365,
        365,
        365,
        365,
    ]
    np.testing.assert_allclose(index.mean_rgb, [115, 111, 102], atol=8)  # photographs: greyish, a little warm
    assert json.loads((output.parent / "statistics.json").read_text())["class_images"]["person"] == sum(
        int(r.labels[14]) for r in rows
    )
