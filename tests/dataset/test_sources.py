"""VOC-shaped folders and the forms of the CSV."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from wsss.settings.sections import FolderSection, VocSection
from wsss.stages.dataset.checks import DataError, Faults, SourceRow, check_rows, nearest, path_fault
from wsss.stages.dataset.sources import VOC_CLASSES, Source, read_folder, read_voc

BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "cat">]><annotation><object><name>&x;</name></object></annotation>'


def folder(root: Path, text: str | bytes, **keys: object) -> tuple[Source, str]:
    """The source and the text of its faults."""
    root.mkdir(exist_ok=True)
    (root / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return gathered(read_folder, FolderSection(root=str(root), **keys))


def gathered(read: object, settings: object) -> tuple[Source, str]:
    faults = Faults()
    source = read(settings, faults)  # type: ignore[operator]
    try:
        faults.stop("here")
    except DataError as error:
        return source, str(error)
    return source, ""


def annotation(*objects: str) -> str:
    return (
        "<annotation>"
        + "".join(
            f"<object><name>{o}</name><difficult>1</difficult><part><name>head</name></part></object>" for o in objects
        )
        + "</annotation>"
    )


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "VOC2012"
    for name in (
        "JPEGImages",
        "Annotations",
        "ImageSets/Segmentation",
        "SegmentationClass",
        "SegmentationClassAug",
        "SegmentationObject",
    ):
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
    (lists / "train_aug.txt").write_text("2007_000001\n../secret\n/etc/passwd\n2007_000001\n2007_000004\n2007_000002\n")
    (lists / "train.txt").write_text("2007_000002\n2007_000009\n")
    (voc / "Annotations" / "2007_000001.xml").write_text(BOMB)
    (voc / "Annotations" / "2007_000002.xml").write_text("<annotation>")
    (tmp_path / "out.jpg").touch()
    (voc / "JPEGImages" / "2007_000002.jpg").unlink()
    os.symlink(tmp_path / "out.jpg", voc / "JPEGImages" / "2007_000002.jpg")
    _, faults = gathered(read_voc, VocSection(root=str(voc), val="vall"))
    for text in (
        "train_aug.txt line 2: '../secret' is no image id", "train_aug.txt line 3: '/etc/passwd' is no image id",
        "train_aug.txt line 4: image '2007_000001' is listed before (train_aug.txt line 1)", "train_aug.txt line 5: " + str(voc / "Annotations" / "2007_000004.xml"),
        "train_aug.txt line 1: " + str(voc / "Annotations" / "2007_000001.xml") + " cannot be read", "2007_000002.xml cannot be read",
        "train_aug.txt line 6: path '2007_000002.jpg' is a link out of the folder",
        "vall.txt: no such list; there are: train, train_aug, val", "train.txt line 2: image '2007_000009' is not in the training list train_aug",
    ):  # fmt: skip
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


def test_names_in_a_cell(tmp_path: Path) -> None:
    source, faults = folder(tmp_path, "image,labels,note\n b one.jpg , dog; cat ;dog;,x\n\nsub/a.b.jpg,zebra,\n")
    assert (source.names, faults) == (["cat", "dog", "zebra"], "")
    assert [(r.where, r.image_id, r.labels, r.split) for r in source.rows] == [
        ("labels.csv row 2", "b one", ("dog", "cat"), "train"), ("labels.csv row 4", "sub__a.b", ("zebra",), "train")]  # fmt: skip


def test_one_column_a_class(tmp_path: Path) -> None:
    text = (
        "\ufeffimage,split,zebra,cat\na.jpg,train,1,0\nb.jpg,val,1.0,1\n"  # as Excel writes it: with a byte-order mark
    )
    source, faults = folder(tmp_path, text)
    assert (source.names, faults) == (["zebra", "cat"], "")
    assert [(r.labels, r.split) for r in source.rows] == [(("zebra",), "train"), (("zebra", "cat"), "val")]


def test_given_classes_set_the_order_and_the_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, faults = folder(tmp_path, "image,zebra,cat,width\na.jpg,1,0,375\n", classes=["cat", "zebra"])
    assert (source.names, source.rows[0].labels, faults) == (["cat", "zebra"], ("zebra",), "")
    assert "columns width are not in dataset.folder.classes" in capsys.readouterr().err
    assert (
        "no column for class 'cats', and no column `labels`; did you mean 'cat'?"
        in folder(tmp_path, "image,cat\na.jpg,1\n", classes=["cats"])[1]
    )


def test_a_column_that_is_no_class_is_one_fault(tmp_path: Path) -> None:
    _, faults = folder(tmp_path, "image,cat,width\na.jpg,1,375\nb.jpg,1,200\n")
    assert "1 fault " in faults
    assert "labels.csv row 2: column 'width' holds '375', expected 0 or 1 (2 such rows)" in faults


def test_masks_by_column_and_by_folder(tmp_path: Path) -> None:
    masks = tmp_path / "truth"
    masks.mkdir()
    (masks / "a.png").touch()
    (masks / "b.png").touch()
    source, faults = folder(
        tmp_path / "photos", "image,labels,mask\na.jpg,cat,\nb.jpg,cat,m/own.png\nc.jpg,cat,\n", masks=str(masks)
    )
    assert faults == ""
    assert [r.mask for r in source.rows] == [masks / "a.png", tmp_path / "photos" / "m" / "own.png", None]
    assert [r.measured for r in source.rows] == [True, True, False]
    assert (
        "row 2: mask path '../x.png' leaves the folder"
        in folder(tmp_path, "image,labels,mask\na.jpg,cat,../x.png\n")[1]
    )


def test_mask_folder_faults(tmp_path: Path) -> None:
    (tmp_path / "photos" / "masks").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no such folder; did you mean .*photos/masks"):
        folder(tmp_path / "photos", "image,labels\na.jpg,cat\n", masks="masks")
    assert (
        "no mask of any image in it; expected names like a.png"
        in folder(tmp_path / "photos", "image,labels\na.jpg,cat\n", masks=str(tmp_path / "photos" / "masks"))[1]
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "the file is empty"),
        ("imag,labels\na.jpg,cat\n", r"row 1: no column `image`, found \['imag', 'labels'\]; did you mean 'imag'"),
        ("image;labels\na.jpg;cat\n", "columns must be separated by ','"),
        ("image,cat,cat\na.jpg,1,1\n", r"columns \['cat'\] occur more than once"),
        (b"image,labels\n\xe4.jpg,cat\n", "not UTF-8 text"),
        ('image,labels\n"a.jpg,cat\n', "not valid CSV"),
    ],
)
def test_unusable_tables(tmp_path: Path, text: str | bytes, found: str) -> None:
    with pytest.raises(DataError, match=found):
        folder(tmp_path, text)


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv: no such file"):
        read_folder(FolderSection(root=str(tmp_path), labels="labels.csv"), Faults())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("image,labels\na.jpg,\n", "no class names; at least one"),
        ('image,labels\na.jpg,"cat,dog"\n', "class name 'cat,dog' holds a comma"),
        ("image,labels\na.jpg,Background\n", "class name 'Background' is reserved"),
        ("image,labels\n.,cat\n", "row 2: the cell `image` holds '.', no file name"),
        ("image,labels\n,cat\n", "row 2: the cell `image` holds ''"),
        ("image," + ",".join(f"c{k}" for k in range(255)) + "\na.jpg" + ",1" * 255 + "\n", "255 classes, at most 254"),
    ],
)
def test_bad_rows_and_names(tmp_path: Path, text: str, found: str) -> None:
    assert found in folder(tmp_path, text)[1]


def test_two_spellings_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path, "image,labels\na.jpg,aeroplane\nb.jpg,aeroplan\nc.jpg,cat\nd.jpg,cow\n")
    err = capsys.readouterr().err
    assert "'aeroplan' and 'aeroplane' look alike" in err
    assert err.count("look alike") == 1


def test_a_class_on_one_row_that_looks_like_a_common_one_is_a_fault_of_that_row(tmp_path: Path) -> None:
    message = folder(tmp_path, "image,labels\na.jpg,dog\nb.jpg,dogg;cat\nc.jpg,dog\n")[1]
    assert "labels.csv row 3: class 'dogg' is on this row alone and looks like 'dog' (2 rows)" in message


def test_swapped_letters_are_seen_and_other_words_left_alone(tmp_path: Path) -> None:
    assert (
        "class 'dgo' is on this row alone and looks like 'dog'"
        in folder(tmp_path / "one", "image,labels\na.jpg,dog\nb.jpg,dgo\nc.jpg,dog\n")[1]
    )
    assert folder(tmp_path / "other", "image,labels\na.jpg,cat\nb.jpg,car\nc.jpg,cat\n")[1] == ""


def test_a_class_on_every_training_image_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        SourceRow(where=f"row {k}", image_id=str(k), split="train", labels=labels, image=Path("x"))
        for k, labels in enumerate((("cat", "dog"), ("cat",)))
    ]
    check_rows(rows, ["cat", "dog"], Faults(), where="labels.csv")
    err = capsys.readouterr().err
    assert "every training image has cat" in err
    assert "dog" not in err


def test_nearest_name() -> None:
    assert nearest("aeroplan", VOC_CLASSES) == "; did you mean 'aeroplane'?"
    assert nearest("TV-monitor", VOC_CLASSES) == "; did you mean 'tvmonitor'?"
    assert nearest("xyzzy", VOC_CLASSES) == ""


def test_paths_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    os.symlink(root / "sub", root / "inner")
    os.symlink(tmp_path, root / "outer")
    assert path_fault("sub/a.jpg", root) == ""
    assert path_fault("inner/a.jpg", root) == ""
    for text in ("../a.jpg", "sub/../../a.jpg", "/a.jpg"):
        assert "leaves the folder" in path_fault(text, root)
    assert "link out of the folder" in path_fault("outer/a.jpg", root)
