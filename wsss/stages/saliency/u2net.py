"""Saliency by U²-Net-p (Qin et al., Pattern Recognition 2020) with onnxruntime; trained on the pixel masks of DUTS-TR.

The weights are one file with one checksum. They come from a path, from the cache folder, or from the official release.
"""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Sequence
from functools import cached_property
from http.client import HTTPException
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
from wsss.runtime.extras import require
from wsss.settings.sections import U2netSection
from wsss.stages.saliency.estimator import Estimator

if TYPE_CHECKING:
    import onnxruntime

SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
URL = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2netp.onnx"
SIDE = 320
"""Sides of the network's input, px."""
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
TIMEOUT_S = 120


class U2net(Estimator):
    """`saliency.kind: u2net`."""

    settings: U2netSection
    weights: Path
    seconds = 0.55

    def prepare(self, rows: Sequence[ImageRow]) -> None:
        """Find the weights, and the package that runs them."""
        require("saliency", reason="saliency.kind 'u2net'")
        self.weights = find_weights(self.settings.weights)

    @cached_property
    def network(self) -> onnxruntime.InferenceSession:
        """The network of this process, opened at its first image."""
        return open_network(self.weights)

    def of_image(self, image_u8: np.ndarray) -> np.ndarray:
        """As `u2net_saliency`."""
        return u2net_saliency(image_u8, network=self.network)


def cache_file() -> Path:
    """Where downloaded weights are kept: u2netp.onnx in the folder $WSSS_CACHE, or in ~/.cache/wsss."""
    return Path(os.environ.get("WSSS_CACHE") or "~/.cache/wsss").expanduser() / "u2netp.onnx"


def find_weights(setting: str) -> Path:
    """The weights file, its SHA-256 checked.

    Args:
        setting: A path, or "auto": the cache file, and where it is missing or damaged, a download into it.

    Returns:
        Path of u2netp.onnx.

    Raises:
        ArtefactError: If the file is missing or is another one; the message says how to get it.
    """
    if setting != "auto":
        path = Path(setting).expanduser()
        if not path.is_file():
            raise ArtefactError(f"saliency.u2net.weights: {path}: no such file; give the path of u2netp.onnx, or auto")
        _check(_whole(path), str(path))
        return path
    cached = cache_file()
    try:
        _check(_whole(cached), str(cached))
    except (OSError, ValueError) as error:
        log.info("u2netp.onnx is not in the cache: %s", error)
        _download(cached)
    return cached


def open_network(weights: Path) -> onnxruntime.InferenceSession:
    """The network on one CPU thread, deterministic."""
    import onnxruntime  # the extra `saliency`

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    return onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])


def u2net_saliency(image_u8: np.ndarray, *, network: onnxruntime.InferenceSession) -> np.ndarray:
    """Saliency of an image. The network was trained on masks, so most pixels are near 0 or near 1.

    Args:
        image_u8: (H, W, 3) RGB uint8.
        network: From `open_network`.

    Returns:
        (H, W) float32 in [0, 1], min-max normalised on the network's grid; 0 everywhere if its map is constant.
    """
    small = np.asarray(Image.fromarray(image_u8).resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    image_n = (small / max(float(small.max()), 1.0) - MEAN) / STD
    batch = image_n.transpose(2, 0, 1)[None].astype(np.float32)  # (1, 3, 320, 320)
    given, made = network.get_inputs()[0].name, network.get_outputs()[0].name
    raw = network.run([made], {given: batch})[0][0]  # (1, 320, 320)
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
        expected = f"expected {SHA256}, the u2netp.onnx of rembg's release v0.0.0"
        raise ArtefactError(f"{name}: found sha256 {found}, {expected}")


def _download(cached: Path) -> None:
    """Fetch the official release into the cache, which holds the whole file or stays as it was."""
    try:
        with urllib.request.urlopen(URL, timeout=TIMEOUT_S) as answer:
            data: bytes = answer.read(MOST_U2NET_BYTES + 1)
        _check(data, URL)
    except (OSError, HTTPException, ValueError) as error:
        raise ArtefactError(
            f"saliency.u2net.weights: u2netp.onnx is not at {cached}, and its download failed ({error}); "
            f"fetch {URL} on a machine with a network and copy it to {cached}, "
            "or set saliency.u2net.weights to its path, or choose saliency.kind barrier"
        ) from None
    with atomic(cached) as temporary:
        temporary.write_bytes(data)
    log.info("u2netp.onnx from %s is now at %s", URL, cached)
