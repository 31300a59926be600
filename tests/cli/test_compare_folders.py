"""`wsss evaluate`: two folders of PNG masks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from wsss.__main__ import main
from wsss.cli.compare_folders import compare_folders
from wsss.files.errors import ArtefactError


def write(folder: Path, **masks: list) -> Path:
    folder.mkdir(exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(np.asarray(mask, np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def folders(tmp_path) -> dict[str, Path]:
    """Background: 4 px, 3 right, 1 unlabelled. Class 1: 3 px, 2 right. Class 2: guessed, not in the truth.

    One pixel is left out.
    """
    truth = write(tmp_path / "truth", a=[[0, 0, 1, 1]], b=[[0, 0, 1, 255]])
    predictions = write(tmp_path / "predictions", a=[[0, 0, 1, 1]], b=[[0, 255, 2, 2]], extra=[[9, 9]])
    return {"predictions": predictions, "truth": truth}


def test_a_closed_form(folders, tmp_path):
    text = compare_folders(**folders, output=tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv", index_col="class")
    assert list(table.index) == ["0", "1", "2", "mean"]
    np.testing.assert_allclose(table.loc["0"], [3 / 4, 1, 3 / 4])
    np.testing.assert_allclose(table.loc["1"], [2 / 3, 1, 2 / 3])
    assert table.loc["2"].isna().all()
    np.testing.assert_allclose(table.loc["mean"], [(3 / 4 + 2 / 3) / 2, 1, (3 / 4 + 2 / 3) / 2])
    assert text.startswith("2 masks, pixel accuracy 0.7143, coverage 0.8571\n")
    assert re.search(r"^mean +0\.7083 +1\.0000 +0\.7083$", text, re.M)
    assert re.search(r"^2 +- +- +-$", text, re.M)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.csv", "class_id,name\n0,background\n1,dog\n2,potted plant\n"),
        ("names.txt", "background\ndog\npotted plant\n\n"),
    ],
)
def test_classes_are_named(folders, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert re.search(r"^potted plant +- +- +-$", compare_folders(**folders, classes=tmp_path / name), re.M)


def test_too_few_names_are_refused(folders, tmp_path):
    (tmp_path / "names.txt").write_text("background\ndog\n")
    with pytest.raises(ArtefactError, match=r"class id 2, but .*names\.txt names 2 classes"):
        compare_folders(**folders, classes=tmp_path / "names.txt")


def test_all_missing_masks_in_one_message(tmp_path):
    truth = write(tmp_path / "truth", **{f"m{k:02d}": [[0]] for k in range(25)})
    predictions = write(tmp_path / "predictions", m03=[[0]])
    with pytest.raises(ArtefactError, match=r"24 of 25 masks are missing: m00\.png, .*m20\.png and 4 more"):
        compare_folders(predictions=predictions, truth=truth)


def test_all_wrong_sizes_in_one_message(tmp_path):
    truth = write(tmp_path / "truth", a=[[0, 1]], b=[[0, 1]], c=[[0, 1]])
    predictions = write(tmp_path / "predictions", a=[[0], [1]], b=[[0, 1]], c=[[0]])
    with pytest.raises(
        ArtefactError, match=r"2 of 3 .*a\.png \(2, 1\), truth \(1, 2\), c\.png \(1, 1\), truth \(1, 2\)"
    ):
        compare_folders(predictions=predictions, truth=truth)


def test_the_command(folders, tmp_path):
    done = CliRunner().invoke(
        main, ["evaluate", str(folders["predictions"]), str(folders["truth"]), "-o", str(tmp_path / "t.csv")]
    )
    assert done.exit_code == 0, done.output
    assert "mean" in done.output
    assert (tmp_path / "t.csv").is_file()
    done = CliRunner().invoke(main, ["evaluate", str(folders["predictions"]), str(tmp_path / "nothing")])
    assert done.exit_code == 1
    assert "no such folder" in done.output


def test_nothing_to_compare_and_shifted_names_are_errors(tmp_path):
    for name, value in (("truth", 255), ("predictions", 0)):
        write(tmp_path / name, a=[[value] * 4] * 4)
    with pytest.raises(ArtefactError, match="every pixel of its 1 masks is 255"):
        compare_folders(predictions=tmp_path / "predictions", truth=tmp_path / "truth")
    (tmp_path / "names.txt").write_text("bus\ncat\n")
    with pytest.raises(ArtefactError, match="first name is 'bus', expected 'background'"):
        compare_folders(predictions=tmp_path / "predictions", truth=tmp_path / "truth", classes=tmp_path / "names.txt")
