"""A folder of images and the forms of its CSV."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsss.settings.sections import FolderSection
from wsss.stages.dataset.faults import DataError, Faults
from wsss.stages.dataset.folder import FolderSource, read_folder
from wsss.stages.dataset.source import Description

from .reading import gathered


def folder(root: Path, text: str | bytes, **keys: object) -> tuple[Description, str]:
    """The description and the text of its faults."""
    root.mkdir(exist_ok=True)
    (root / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return gathered(read_folder, FolderSection(root=str(root), **keys))


def test_names_in_a_cell(tmp_path: Path) -> None:
    found, faults = folder(tmp_path, "image,labels,note\n b one.jpg , dog; cat ;dog;,x\n\nsub/a.b.jpg,zebra,\n")
    assert (found.names, faults) == (["cat", "dog", "zebra"], "")
    assert [(r.where, r.image_id, r.labels, r.split) for r in found.rows] == [
        ("labels.csv row 2", "b one", ("dog", "cat"), "train"),
        ("labels.csv row 4", "sub__a.b", ("zebra",), "train"),
    ]


def test_one_column_a_class(tmp_path: Path) -> None:
    # as Excel writes it: with a byte-order mark
    text = "\ufeffimage,split,zebra,cat\na.jpg,train,1,0\nb.jpg,val,1.0,1\n"
    found, faults = folder(tmp_path, text)
    assert (found.names, faults) == (["zebra", "cat"], "")
    assert [(r.labels, r.split) for r in found.rows] == [(("zebra",), "train"), (("zebra", "cat"), "val")]


def test_given_classes_set_the_order_and_the_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, faults = folder(tmp_path, "image,zebra,cat,width\na.jpg,1,0,375\n", classes=["cat", "zebra"])
    assert (found.names, found.rows[0].labels, faults) == (["cat", "zebra"], ("zebra",), "")
    assert "columns width are not in dataset.folder.classes" in capsys.readouterr().err
    _, faults = folder(tmp_path, "image,cat\na.jpg,1\n", classes=["cats"])
    assert "no column for class 'cats', and no column `labels`; did you mean 'cat'?" in faults


def test_a_column_that_is_no_class_is_one_fault(tmp_path: Path) -> None:
    _, faults = folder(tmp_path, "image,cat,width\na.jpg,1,375\nb.jpg,1,200\n")
    assert "1 fault " in faults
    assert "labels.csv row 2: column 'width' holds '375', expected 0 or 1 (2 such rows)" in faults


def test_masks_by_column_and_by_folder(tmp_path: Path) -> None:
    masks = tmp_path / "truth"
    masks.mkdir()
    (masks / "a.png").touch()
    (masks / "b.png").touch()
    text = "image,labels,mask\na.jpg,cat,\nb.jpg,cat,m/own.png\nc.jpg,cat,\n"
    found, faults = folder(tmp_path / "photos", text, masks=str(masks))
    assert faults == ""
    assert [r.mask for r in found.rows] == [masks / "a.png", tmp_path / "photos" / "m" / "own.png", None]
    assert [r.measured for r in found.rows] == [True, True, False]
    _, faults = folder(tmp_path, "image,labels,mask\na.jpg,cat,../x.png\n")
    assert "row 2: mask path '../x.png' leaves the folder" in faults


def test_mask_folder_faults(tmp_path: Path) -> None:
    (tmp_path / "photos" / "masks").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no such folder; did you mean .*photos/masks"):
        folder(tmp_path / "photos", "image,labels\na.jpg,cat\n", masks="masks")
    masks = str(tmp_path / "photos" / "masks")
    _, faults = folder(tmp_path / "photos", "image,labels\na.jpg,cat\n", masks=masks)
    assert "no mask of any image in it; expected names like a.png" in faults


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("imag,labels\na.jpg,cat\n", r"row 1: no column `image`, found \['imag', 'labels'\]; did you mean 'imag'"),
        ("image;labels\na.jpg;cat\n", "columns must be separated by ','"),
        ("image,cat,cat\na.jpg,1,1\n", r"columns \['cat'\] occur more than once"),
        (b"image,labels\n\xe4.jpg,cat\n", "not UTF-8 text"),
        ('image,labels\n"a.jpg,cat\n', "not valid CSV"),
    ],
)
def test_unusable_tables(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        folder(tmp_path, text)


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv: no such file"):
        read_folder(FolderSection(root=str(tmp_path), labels="labels.csv"), Faults())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,labels\na.jpg,\n", "no class names; at least one"),
        ('image,labels\na.jpg,"cat,dog"\n', "class name 'cat,dog' holds a comma"),
        ("image,labels\na.jpg,Background\n", "class name 'Background' is reserved"),
        ("image,labels\n.,cat\n", "row 2: the cell `image` holds '.', no file name"),
        ("image,labels\n,cat\n", "row 2: the cell `image` holds ''"),
        ("image," + ",".join(f"c{k}" for k in range(255)) + "\na.jpg" + ",1" * 255 + "\n", "255 classes, at most 254"),
    ],
)
def test_bad_rows_and_names(tmp_path: Path, text: str, message: str) -> None:
    assert message in folder(tmp_path, text)[1]


def test_two_spellings_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path, "image,labels\na.jpg,aeroplane\nb.jpg,aeroplan\nc.jpg,cat\nd.jpg,cow\n")
    err = capsys.readouterr().err
    assert "'aeroplan' and 'aeroplane' look alike" in err
    assert err.count("look alike") == 1


def test_a_class_on_one_row_that_looks_like_a_common_one_is_a_fault_of_that_row(tmp_path: Path) -> None:
    message = folder(tmp_path, "image,labels\na.jpg,dog\nb.jpg,dogg;cat\nc.jpg,dog\n")[1]
    assert "labels.csv row 3: class 'dogg' is on this row alone and looks like 'dog' (2 rows)" in message


def test_swapped_letters_are_seen_and_other_words_left_alone(tmp_path: Path) -> None:
    _, faults = folder(tmp_path / "one", "image,labels\na.jpg,dog\nb.jpg,dgo\nc.jpg,dog\n")
    assert "class 'dgo' is on this row alone and looks like 'dog'" in faults
    assert folder(tmp_path / "other", "image,labels\na.jpg,cat\nb.jpg,car\nc.jpg,cat\n")[1] == ""


def test_counts_are_rows_by_split(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,labels,split\na.jpg,cat,train\nb.jpg,cat,val\nc.jpg,cat,train\n")
    source = FolderSource(FolderSection(root=str(tmp_path)))
    assert source.count() == {"train": 2, "val": 1}
    assert source.labels() == [tmp_path / "labels.csv"]


def test_the_listing_keeps_the_header_first(tmp_path: Path) -> None:
    source = FolderSource(FolderSection(root=str(tmp_path)))
    listings = []
    for rows in (("image,labels", "a.jpg,cat", "b.jpg,dog"), ("image,labels", "b.jpg,dog", "a.jpg,cat")):
        (tmp_path / "labels.csv").write_text("\n".join(rows))
        listings.append(source.listing())
    (tmp_path / "labels.csv").write_text("a.jpg,cat\nimage,labels\nb.jpg,dog")
    assert listings[0] == listings[1] != source.listing()
