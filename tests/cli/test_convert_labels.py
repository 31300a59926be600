"""cls_labels.npy to CSV, and what a hostile one is met with."""

from __future__ import annotations

import csv
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsss.cli.convert_labels import convert_labels, read_labels
from wsss.files.errors import ArtefactError
from wsss.settings.sections import FolderSection
from wsss.stages.dataset.faults import Faults
from wsss.stages.dataset.folder import read_folder
from wsss.stages.dataset.voc import VOC_CLASSES


def vector(*ids: int, dtype: Any = np.float32) -> np.ndarray:
    labels = np.zeros(20, dtype)
    labels[[i - 1 for i in ids]] = 1
    return labels


def save(path: Path, value: Any) -> Path:
    np.save(path, value, allow_pickle=True)
    return path


def crafted(path: Path, value: Any, *, protocol: int = 2) -> Path:
    """A npy header followed by any pickle."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(value, file, protocol=protocol)
    return path


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64, bool])
def test_table(tmp_path: Path, dtype: Any) -> None:
    path = save(
        tmp_path / "cls_labels.npy", {"2008_000002": vector(20, 1, dtype=dtype), "2007_000032": vector(15, dtype=dtype)}
    )
    convert_labels(labels=path, output=tmp_path / "labels.csv")
    assert rows(tmp_path / "labels.csv") == [
        ["image", "labels"],
        ["2007_000032.jpg", "person"],
        ["2008_000002.jpg", "aeroplane;tvmonitor"],
    ]


def test_integer_ids(tmp_path: Path) -> None:
    convert_labels(labels=save(tmp_path / "old.npy", {2007000032: vector(1)}), output=tmp_path / "labels.csv")
    assert rows(tmp_path / "labels.csv")[1] == ["2007_000032.jpg", "aeroplane"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    path = crafted(tmp_path / "a.npy", {"2007_000032": vector(3)}, protocol=protocol)
    np.testing.assert_array_equal(read_labels(path)["2007_000032"], vector(3))


def test_only_images_of_a_folder(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", {"2007_000032": vector(1), "2007_000033": vector(2)})
    (tmp_path / "2007_000033.jpg").touch()
    convert_labels(labels=path, output=tmp_path / "labels.csv", root=tmp_path)
    assert rows(tmp_path / "labels.csv")[1:] == [["2007_000033.jpg", "bicycle"]]
    with pytest.raises(ArtefactError, match="none of its 2 images is in"):
        convert_labels(labels=path, output=tmp_path / "labels.csv", root=tmp_path / "none")


class Hostile:
    """Unpickles to a call of anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_program_is_refused_before_it_runs(tmp_path: Path, protocol: int) -> None:
    path = crafted(tmp_path / "evil.npy", {"2007_000032": Hostile(os.mkdir, str(tmp_path / "ran"))}, protocol=protocol)
    with pytest.raises(ArtefactError, match=r"asks for (posix|nt)\.mkdir, refused"):
        convert_labels(labels=path, output=tmp_path / "labels.csv")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "labels.csv").exists()
    np.load(path, allow_pickle=True)  # the same file does run where nothing is refused
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval",
        "builtins getattr",
        "numpy load",
        "numpy.core.multiarray fromfile",
        "functools partial",
        "_codecs decode",
    ],
)
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    module, attribute = name.split()
    path = crafted(tmp_path / "evil.npy", None)
    header = path.read_bytes()[: -len(pickle.dumps(None, protocol=2))]
    path.write_bytes(header + f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(ArtefactError, match=f"asks for {module}.{attribute}, refused"):
        read_labels(path)


def test_allowed_names_are_not_the_real_ones(tmp_path: Path) -> None:
    """numpy.ndarray called as the class (which could ask for any memory), and a dtype of objects inside an array."""
    with pytest.raises(ArtefactError, match="not the field's"):
        read_labels(crafted(tmp_path / "a.npy", Hostile(np.ndarray, (1 << 40,))))
    with pytest.raises(ArtefactError, match=r"dtype 'V8', refused"):
        read_labels(crafted(tmp_path / "b.npy", {"x": np.zeros(2, "V8")}))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([1, 2], "expected a pickled dict"),
        ({"2007_000032": np.zeros(80, np.float32)}, r"image '2007_000032': found shape \(80,\)"),
        ({"2007_000032": np.full(20, 0.5)}, r"values \[0.5\]; expected 20 entries of 0 or 1"),
        ({"2007_000032": "dog"}, "found str"),
        ({"../x": vector(1)}, "'../x' is no image id"),
        ({17: vector(1)}, "17 is no image id"),
        ({}, "no image to write"),
    ],
)
def test_wrong_contents(tmp_path: Path, value: Any, found: str) -> None:
    with pytest.raises(ArtefactError, match=found):
        convert_labels(labels=save(tmp_path / "a.npy", value), output=tmp_path / "labels.csv")
    assert not (tmp_path / "labels.csv").exists()


def test_damaged_files(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.npy", {"2007_000032": vector(1)}).read_bytes()
    for length in (0, 5, 100, len(whole) - 30):
        (tmp_path / "cut.npy").write_bytes(whole[:length])
        with pytest.raises(ArtefactError, match=r"cut\.npy: not the field's"):
            read_labels(tmp_path / "cut.npy")
    with pytest.raises(ArtefactError, match="no such file"):
        read_labels(tmp_path / "none.npy")


def test_the_real_file(shared: Path, tmp_path: Path) -> None:
    """All 12,031 ids, and the same labels as the annotations of the subset."""
    root = shared / "data" / "voc12_sub"
    convert_labels(labels=shared / "data" / "voc12_meta" / "cls_labels.npy", output=tmp_path / "labels.csv")
    table = dict(rows(tmp_path / "labels.csv")[1:])
    assert len(table) == 12031
    with (root / "labels.csv").open() as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        assert table[line["id"] + ".jpg"] == ";".join(n for n in VOC_CLASSES if line[n] == "1")
    convert_labels(
        labels=shared / "data" / "voc12_meta" / "cls_labels.npy", output=tmp_path / "sub.csv", root=root / "JPEGImages"
    )
    faults = Faults()
    source = read_folder(
        FolderSection(root=str(root / "JPEGImages"), labels=str(tmp_path / "sub.csv"), classes=list(VOC_CLASSES)),
        faults,
    )
    assert (len(source.rows), len(faults)) == (len(lines), 0)
