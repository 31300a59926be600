"""`wsss export`: a trained segmenter as ONNX, for other programs."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from wsss.files.artefacts import atomic, write_json
from wsss.stages.segment.inference import load_segmenter
from wsss.stages.segment.psl import class_scores, stricter, weigh

OPSET = 17


class Exported(nn.Module):
    """Normalised images to class probabilities on the network's grid, weighted as PSL's test phase says."""

    def __init__(self, model: nn.Module, *, score: Literal["softmax", "sigmoid"], p: float, weighted: bool) -> None:
        """Wrap a segmenter.

        Args:
            model: The segmenter.
            score: How class logits become scores.
            p: Scores below it become 0.
            weighted: Whether scores weigh the maps at all.
        """
        super().__init__()
        self.model, self.score, self.p, self.weighted = model, score, p, weighted

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, C + 1, h, w)."""
        maps, logits = self.model(image)
        f: torch.Tensor = maps.softmax(1)
        return weigh(f, stricter(class_scores(logits, kind=self.score), p=self.p)) if self.weighted else f


def export_onnx(*, model: Path, output: Path, size: int = 160) -> None:
    """Write FILE.onnx (image (N, 3, H, W) float32 normalised to probabilities (N, C + 1, h, w); N, H, W free) and FILE.json (classes, normalisation, and the multiple to pad sides to).

    Args:
        model: segmenter.safetensors.
        output: The .onnx file.
        size: Side of the image used for tracing, px.

    Raises:
        ArtefactError: If the model cannot be read.
        ValueError: If torch needs the onnx package for this, and it is not installed.
    """
    trained = load_segmenter(model, device=torch.device("cpu"))
    psl = trained.settings.psl
    exported = Exported(
        trained.model, score=psl.score, p=psl.test_p, weighted=psl.enabled and psl.test_weighting != "none"
    ).eval()
    axes = {"image": {0: "n", 2: "height", 3: "width"}, "probabilities": {0: "n", 2: "h", 3: "w"}}
    example = torch.zeros(1, 3, size, size + 32)
    with atomic(output) as temporary, torch.no_grad(), _onnx_package_spared(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the tracer warns of every size it turns into a constant; the sizes that matter are tested with other images
        torch.onnx.export(
            exported, (example,), str(temporary), input_names=["image"], output_names=["probabilities"], dynamic_axes=axes, opset_version=OPSET, dynamo=False
        )  # fmt: skip
    net, pixels = trained.model, trained.model.normalisation
    facts = {
        "classes": trained.class_names,
        "mean": pixels.mean,
        "std": pixels.std,
        "stride": net.stride,
        "multiple": net.multiple,
    }
    write_json(output.with_suffix(".json"), {**facts, "settings": trained.settings.model_dump(mode="json")})


@contextmanager
def _onnx_package_spared() -> Iterator[None]:
    """Let torch export where the onnx package is not installed.

    Torch writes the whole file itself; it wants the package only for a last step, which adds custom functions to the model. Ours has none.
    """
    if importlib.util.find_spec("onnx") is not None:
        yield
        return
    try:
        from torch.onnx._internal.torchscript_exporter import onnx_proto_utils

        last_step = onnx_proto_utils._add_onnxscript_fn
    except (ImportError, AttributeError):
        raise ValueError("this version of torch needs the package onnx to export: pip install onnx") from None
    onnx_proto_utils._add_onnxscript_fn = _unchanged
    try:
        yield
    finally:
        onnx_proto_utils._add_onnxscript_fn = last_step


def _unchanged(model_bytes: bytes, custom_opsets: Mapping[str, int]) -> bytes:
    return model_bytes
