"""`wsss predict`: new photographs, and nothing written when one of them is bad."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.segment.drawn_set import COLOURS, COMPUTE
from wsss.artefacts import ArtefactError
from wsss.imaging import VOC_COLOURS
from wsss.sections import PredictSection
from wsss.segment.inference import probabilities
from wsss.segment.predict_images import blend, predict_images


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


def test_the_scale_is_the_callers(segmenter, folder, tmp_path, monkeypatch):
    seen = []

    def watched(*arguments, **options):
        seen.append(probabilities(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr("wsss.segment.predict_images.probabilities", watched)
    for number, choice in enumerate((PredictSection(scales=[0.5]), PredictSection(), None)):
        predict(segmenter, [folder / "one.png"], tmp_path / str(number), predict=choice)
    assert not np.allclose(seen[0], seen[1])
    assert np.array_equal(seen[1], seen[2])


def test_blend_leaves_the_background_alone():
    image, mask = photo((8, 8))
    mixed = blend(image, mask, strength=0.5)
    assert (mixed[mask == 0] == image[mask == 0]).all()
    assert (np.abs(mixed[4, 4].astype(int) - (image[4, 4].astype(int) + VOC_COLOURS[1]) / 2) <= 1).all()
