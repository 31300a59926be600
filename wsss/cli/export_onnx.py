"""`wsss export`: a trained segmenter as ONNX, for other programs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn

from wsss.files.atomic import atomic
from wsss.files.text_files import write_json
from wsss.nets.backbones import SubgridConv2d
from wsss.nets.segmenters import Segmenter
from wsss.runtime.extras import require
from wsss.settings.segment import NETWORKS
from wsss.stages.segment.inference import load_segmenter
from wsss.stages.segment.psl import class_scores, stricter, weigh

OPSET = 18
"""The version of ONNX's operators that torch's exporter writes without a conversion."""
AXES = {"image": {0: "n", 2: "height", 3: "width"}}
"""Axes that stay free. The exporter refuses a network that would fix one of them to the example's size."""


class Exported(nn.Module):
    """Normalised images of any size to class probabilities, weighted as PSL's test phase says."""

    def __init__(self, model: Segmenter, *, score: Literal["softmax", "sigmoid"], p: float, weighted: bool) -> None:
        """Wrap a segmenter.

        Args:
            model: The segmenter.
            score: How class logits become scores.
            p: Scores below it become 0.
            weighted: Whether scores weigh the maps at all.
        """
        super().__init__()
        self.model, self.score, self.p, self.weighted = model, score, p, weighted
        self.multiple = model.multiple

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, C + 1, h, w), the grid of the image padded to sides that are multiples of `multiple`."""
        m, (height, width) = self.multiple, image.shape[2:]
        # not -(-height // m): ONNX rounds a negative quotient towards 0
        rows, columns = (height + m - 1) // m * m, (width + m - 1) // m * m
        padded = F.pad(image, (0, columns - width, 0, rows - height), mode="replicate")
        maps, logits = self.model(padded)
        f: torch.Tensor = maps.softmax(1)
        return weigh(f, stricter(class_scores(logits, kind=self.score), p=self.p)) if self.weighted else f


class PaddedConv2d(nn.Module):
    """A convolution with constant padding, for one that computes with the size of its input.

    Torch's exporter takes minutes for sizes of sizes, or gives a network that is wrong at odd sizes.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        """Take a convolution's parameters.

        Args:
            conv: With padding that divides its input's sides by the stride: TensorFlow's "same" at even sides,
                or half the kernel at stride 1.
        """
        super().__init__()
        self.conv = conv
        self.pads: list[int] = []  # left, right, top, bottom
        for size, stride, dilation in list(zip(conv.kernel_size, conv.stride, conv.dilation, strict=True))[::-1]:
            total = max(dilation * (size - 1) + 1 - stride, 0)
            self.pads += [total // 2, total - total // 2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, D, H, W) to (N, E, H / stride, W / stride)."""
        c = self.conv
        return F.conv2d(F.pad(x, self.pads), c.weight, c.bias, c.stride, 0, c.dilation, c.groups)


def fix_padding(model: nn.Module) -> None:
    """Replace each convolution that computes with the size of its input, in place.

    Args:
        model: A network that will see images whose sides are multiples of its stride.

    Raises:
        ValueError: If another kind of layer pads by the size of its input.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, SubgridConv2d) or (type(child) is Conv2dSame and max(child.stride) <= 2):
                setattr(parent, name, PaddedConv2d(child))
            elif type(child).__name__.endswith("Same"):
                raise ValueError(f"its layer {type(child).__name__} pads by the size of its input")


def export_onnx(*, model: Path, output: Path) -> None:
    """Write FILE.onnx, one file with its weights, and FILE.json.

    The network takes `image` (N, 3, H, W) float32, normalised, and gives `probabilities` (N, C + 1, h, w); N, H and W
    are free. FILE.json holds the class names, the normalisation, and the multiple to pad sides to.

    Args:
        model: segmenter.safetensors.
        output: The .onnx file.

    Raises:
        ArtefactError: If the model cannot be read.
        MissingExtraError: If the extra `export` is not installed.
        ValueError: If torch's exporter cannot express the network.
    """
    require("export", reason="wsss export")
    trained = load_segmenter(model, device=torch.device("cpu"))
    net, psl = trained.model, trained.settings.psl
    weighted = psl.enabled and psl.test_weighting != "none"
    exported = Exported(net, score=psl.score, p=psl.test_p, weighted=weighted).eval()
    example = torch.zeros(2, 3, 4 * net.multiple, 5 * net.multiple)  # three sizes, so that none is taken for another
    try:
        fix_padding(net)
        program = _program(exported, example)
    except (ValueError, torch.onnx.OnnxExporterError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0][:300]
        name, backbone = trained.settings.network, trained.settings.backbone.name
        found = name if NETWORKS[name] else f"{name} on {backbone}"
        raise ValueError(f"{model}: torch's ONNX exporter cannot express {found}: {reason}") from error
    with atomic(output) as temporary:
        program.save(temporary, external_data=False)
    facts = {
        "classes": trained.class_names,
        "mean": net.normalisation.mean,
        "std": net.normalisation.std,
        "stride": net.stride,
        "multiple": net.multiple,
    }
    write_json(output.with_suffix(".json"), {**facts, "settings": trained.settings.model_dump(mode="json")})


def _program(exported: Exported, example: torch.Tensor) -> torch.onnx.ONNXProgram:
    """The network as ONNX, in memory."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own deprecations
        program = torch.onnx.export(
            exported,
            (example,),
            input_names=["image"],
            output_names=["probabilities"],
            dynamic_shapes=AXES,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program
