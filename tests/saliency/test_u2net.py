"""U^2-Net-p: where the weights come from, and what they give on photographs."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a local HTTP server whose u2netp.onnx stands for the official release; an empty cache."""
    folder = tmp_path / "release"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(u2net, "URL", f"http://127.0.0.1:{server.server_port}/u2netp.onnx")
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Nothing to stderr."""


@pytest.mark.parametrize("content", [None, b"a sign-in page", bytes(17 << 20)], ids=["404", "another", "too large"])
def test_a_failed_download_says_what_to_do(release: Path, content: bytes | None) -> None:
    cached = u2net.cache_file()
    cached.parent.mkdir()
    cached.write_bytes(b"half a download")
    if content is not None:
        (release / "u2netp.onnx").write_bytes(content)
    with pytest.raises(ArtefactError) as caught:
        find_weights("auto")
    message = str(caught.value)
    assert ("404" if content is None else "found sha256") in message
    assert f"fetch {u2net.URL} on a machine with a network and copy it to {cached}" in message
    assert "set saliency.u2net.weights to its path" in message
    assert [f.read_bytes() for f in cached.parent.iterdir()] == [
        b"half a download"
    ]  # nothing new, nothing half-written


def test_no_server_is_the_same_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setattr(u2net, "URL", f"http://127.0.0.1:{free.getsockname()[1]}/u2netp.onnx")
    with pytest.raises(ArtefactError, match=r"download failed .*refused"):
        find_weights("auto")


def test_a_download_is_kept_and_replaces_a_damaged_file(weights: Path, release: Path) -> None:
    cached = u2net.cache_file()
    cached.parent.mkdir()
    cached.write_bytes(b"half a download")
    shutil.copy(weights, release / "u2netp.onnx")
    assert find_weights("auto") == cached
    assert cached.read_bytes() == weights.read_bytes()
    (release / "u2netp.onnx").unlink()
    assert find_weights("auto") == cached  # without a network


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
