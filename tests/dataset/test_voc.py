"""VOC-shaped folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from wsss.settings.sections import VocSection
from wsss.stages.dataset.faults import DataError, Faults
from wsss.stages.dataset.voc import INSTANCES, MASKS, VOC_CLASSES, VocSource, read_voc

from .reading import gathered

BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "cat">]><annotation><object><name>&x;</name></object></annotation>'


def annotation(*objects: str) -> str:
    part = "<part><name>head</name></part>"
    inside = "".join(f"<object><name>{o}</name><difficult>1</difficult>{part}</object>" for o in objects)
    return f"<annotation>{inside}</annotation>"


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "VOC2012"
    for name in ("JPEGImages", "Annotations", "ImageSets/Segmentation", *MASKS, INSTANCES):
        (root / name).mkdir(parents=True)
    for image_id in ("2007_000001", "2007_000002", "2007_000003"):
        Image.new("RGB", (8, 6)).save(root / "JPEGImages" / f"{image_id}.jpg")
        (root / "Annotations" / f"{image_id}.xml").write_text(annotation("person", "dog", "person"))
    lists = {"train_aug": "2007_000001\n2007_000002\n", "train": "2007_000002\n", "val": "2007_000003\n"}
    for name, text in lists.items():
        (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(text)
    return root


def test_voc_rows(voc: Path) -> None:
    for name in ("SegmentationClass", "SegmentationClassAug", "SegmentationObject"):
        Image.new("L", (8, 6)).save(voc / name / "2007_000002.png")
    Image.new("L", (8, 6)).save(voc / "SegmentationClass" / "2007_000001.png")
    source, faults = gathered(read_voc, VocSection(root=str(voc)))
    assert faults == ""
    assert tuple(source.names) == VOC_CLASSES
    first, second, val = source.rows
    assert first.labels == ("person", "dog")  # difficult ones count, parts do not, each once
    assert (first.mask, first.instances, first.measured) == (voc / "SegmentationClass" / "2007_000001.png", None, False)
    assert (second.mask, second.measured) == (voc / "SegmentationClassAug" / "2007_000002.png", True)
    assert second.instances == voc / "SegmentationObject" / "2007_000002.png"
    assert (val.split, val.mask, val.measured) == ("val", None, False)


def test_voc_lists_in_deeplab_form(voc: Path) -> None:
    (voc / "ImageSets" / "Segmentation" / "train_aug.txt").write_text(
        "/JPEGImages/2007_000001.jpg /SegmentationClassAug/2007_000001.png\n\nJPEGImages/2007_000002.jpg\n"
    )
    source, faults = gathered(read_voc, VocSection(root=str(voc)))
    assert faults == ""
    assert [r.image_id for r in source.rows] == ["2007_000001", "2007_000002", "2007_000003"]


def test_voc_classes_file_and_no_val(voc: Path) -> None:
    (voc / "classes.txt").write_text("background\ndog\nperson\n")
    source, faults = gathered(read_voc, VocSection(root=str(voc), val="", measure=""))
    assert (source.names, faults) == (["dog", "person"], "")
    assert {r.split for r in source.rows} == {"train"}


def test_voc_faults(voc: Path, tmp_path: Path) -> None:
    lists = voc / "ImageSets" / "Segmentation"
    ids = ("2007_000001", "../secret", "/etc/passwd", "2007_000001", "2007_000004", "2007_000002")
    (lists / "train_aug.txt").write_text("\n".join(ids))
    (lists / "train.txt").write_text("2007_000002\n2007_000009\n")
    (voc / "Annotations" / "2007_000001.xml").write_text(BOMB)
    (voc / "Annotations" / "2007_000002.xml").write_text("<annotation>")
    (tmp_path / "out.jpg").touch()
    (voc / "JPEGImages" / "2007_000002.jpg").unlink()
    os.symlink(tmp_path / "out.jpg", voc / "JPEGImages" / "2007_000002.jpg")
    _, faults = gathered(read_voc, VocSection(root=str(voc), val="vall"))
    for text in (
        "train_aug.txt line 2: '../secret' is no image id",
        "train_aug.txt line 3: '/etc/passwd' is no image id",
        "train_aug.txt line 4: image '2007_000001' is listed before (train_aug.txt line 1)",
        f"train_aug.txt line 5: {voc / 'Annotations' / '2007_000004.xml'}",
        f"train_aug.txt line 1: {voc / 'Annotations' / '2007_000001.xml'} cannot be read",
        "2007_000002.xml cannot be read",
        "train_aug.txt line 6: path '2007_000002.jpg' is a link out of the folder",
        "vall.txt: no such list; there are: train, train_aug, val",
        "train.txt line 2: image '2007_000009' is not in the training list train_aug",
    ):
        assert text in faults


def test_voc_empty_list(voc: Path) -> None:
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("\n")
    assert "val.txt: the list is empty" in gathered(read_voc, VocSection(root=str(voc)))[1]


def test_voc_root_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder JPEGImages in it"):
        read_voc(VocSection(root=str(tmp_path)), Faults())


def test_voc_folders_may_be_links(voc: Path, tmp_path: Path) -> None:
    (voc / "JPEGImages").rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", voc / "JPEGImages")
    assert gathered(read_voc, VocSection(root=str(voc)))[1] == ""


def test_counts_and_labels_are_the_lists(voc: Path) -> None:
    source = VocSource(VocSection(root=str(voc)))
    assert source.count() == {"train": 2, "val": 1}
    assert [path.name for path in source.labels()] == ["train_aug.txt", "train.txt", "val.txt"]
    assert VocSource(VocSection(root=str(voc), val="")).count() == {"train": 2, "val": 0}


def test_the_listing_follows_files_and_rows_but_not_their_order(voc: Path) -> None:
    source, path = VocSource(VocSection(root=str(voc))), voc / "ImageSets" / "Segmentation" / "train_aug.txt"
    first = source.listing()
    path.write_text("2007_000002\n2007_000001\n")
    assert source.listing() == first
    path.write_text("2007_000002\n")
    assert source.listing() != first
    path.write_text("2007_000001\n2007_000002\n")
    (voc / "SegmentationObject" / "2007_000001.png").touch()
    assert source.listing() != first
