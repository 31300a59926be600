"""`wsss predict`: new photographs, and nothing written when one of them is bad."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.segment.drawn_set import COLOURS, COMPUTE
from wsss.cli.predict import predict_images
from wsss.files.errors import ArtefactError
from wsss.files.store import MapWriter
from wsss.settings.sections import PredictSection, PslSection
from wsss.settings.stage_settings import PredictSettings
from wsss.stages.segment.inference import probabilities


def photo(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A red box on grey, and its mask."""
    mask = np.zeros(size, np.uint8)
    mask[size[0] // 4 : 3 * size[0] // 4, size[1] // 4 : 3 * size[1] // 4] = 1
    return COLOURS[mask] + np.uint8(10), mask


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    Image.fromarray(photo((64, 56))[0]).save(tmp_path / "photos" / "one.png")
    Image.fromarray(photo((300, 400))[0]).convert("RGBA").save(tmp_path / "photos" / "deep" / "large.png")
    return tmp_path / "photos"


def predict(segmenter, images, output, **options):
    predict_images(model=segmenter, images=images, output=output, compute=COMPUTE, **options)


def test_nothing_is_overwritten(segmenter, folder, tmp_path):
    before = (folder / "one.png").read_bytes()
    with pytest.raises(ArtefactError, match="overwrite"):
        predict(segmenter, [folder / "one.png"], folder)
    assert (folder / "one.png").read_bytes() == before
    Image.fromarray(photo((64, 64))[0]).save(folder / "one.jpg")
    with pytest.raises(ArtefactError, match="overwrite"):
        predict(segmenter, [folder], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [b"a\nb.png", b"\x1b[2J.png", b"\xff\xfe.png"])
def test_names_that_no_table_can_hold_are_refused(segmenter, folder, tmp_path, name):
    shutil.copy(folder / "one.png", os.fsdecode(os.fsencode(folder) + b"/" + name))
    with pytest.raises(ArtefactError, match="control character or is not UTF-8"):
        predict(segmenter, [folder], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_scale_is_the_callers_or_the_runs(segmenter, folder, tmp_path, monkeypatch):
    seen = []

    def watched(*arguments, **options):
        seen.append(probabilities(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr("wsss.cli.predict.probabilities", watched)
    moved = tmp_path / "moved" / "segmenter.safetensors"
    (moved.parent / "predictions").mkdir(parents=True)
    shutil.copy(segmenter, moved)
    said = [
        predict_images(
            model=moved, images=[folder / "one.png"], output=tmp_path / str(number), scales=scales, compute=COMPUTE
        )
        for number, scales in enumerate(([0.5], PredictSection().scales, None))
    ]
    assert not np.allclose(seen[0], seen[1])
    assert np.array_equal(seen[1], seen[2])
    assert "as asked for" in said[0]
    assert "the default" in said[2]
    settings = PredictSettings(psl=PslSection(enabled=False), predict=PredictSection(scales=[0.5]))
    with MapWriter(
        moved.parent / "predictions" / "train-0.h5", stage="predict_masks", settings=settings.model_dump(mode="json")
    ) as writer:
        writer.write("one", np.array([1], np.uint8), mask=np.zeros((2, 2), np.uint8))
    assert "scales [0.5] (as its run predicted)" in predict_images(
        model=moved, images=[folder / "one.png"], output=tmp_path / "run", compute=COMPUTE
    )
    assert seen[3].shape == seen[0].shape


def test_a_second_call_into_a_folder_keeps_the_rows_of_the_first(segmenter, folder, tmp_path):
    for file in ("one.png", "deep/large.png", "one.png"):
        predict(segmenter, [folder / file], tmp_path / "out")
    lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines] == ["mask", "large.png", "one.png"]
    with pytest.raises(ArtefactError, match="is a file"):
        predict(segmenter, [folder / "one.png"], tmp_path / "out" / "one.png")
