"""ResNet38 (Wu et al., "Wider or Deeper", Pattern Recognition 2019; model A1) with dilations for a stride of 8, as PSA and EPS use it, and its published weights.

Module names are those of PSA's code (jiwoon-ahn/psa), so that state dicts made for it fit. Shape legend: N images, H×W pixels.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from wsss.files.imaging import IMAGENET
from wsss.files.limits import MOST_PARAMS_BYTES, regular

STATISTICS = {"beta": "bias", "gamma": "weight", "mean": "running_mean", "var": "running_var"}
"""MXNet's names of a BatchNorm layer's tensors, and torch's."""


STRIDES = {"co": 1, "b2": 2, "b3": 4}
"""Stride of a block's output by the first letters of its name; 8 of the others."""


class Basic(nn.Module):
    """Pre-activated block of two 3×3 convolutions; the shortcut is a projection of the activated input where the shape changes, else the input."""

    def __init__(
        self, wide: int, middle: int, out: int, *, stride: int = 1, dilations: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        first, second = dilations
        self.bn_branch2a = nn.BatchNorm2d(wide)
        self.conv_branch2a = nn.Conv2d(wide, middle, 3, stride=stride, padding=first, dilation=first, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(middle)
        self.conv_branch2b1 = nn.Conv2d(middle, out, 3, padding=second, dilation=second, bias=False)
        if wide != out or stride != 1:
            self.conv_branch1 = nn.Conv2d(wide, out, 1, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, wide, H, W) to (N, out, H/stride, W/stride)."""
        active = torch.relu(self.bn_branch2a(x))
        shortcut = self.conv_branch1(active) if hasattr(self, "conv_branch1") else x
        y = torch.relu(self.bn_branch2b1(self.conv_branch2a(active)))
        return shortcut + self.conv_branch2b1(y)


class Bottleneck(nn.Module):
    """Pre-activated block of 1×1, dilated 3×3 and 1×1 convolutions with dropout of whole channels before the last two; its shortcut is always a projection."""

    def __init__(self, wide: int, out: int, *, dilation: int, dropout: float) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(wide)
        self.conv_branch2a = nn.Conv2d(wide, out // 4, 1, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(out // 4)
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.conv_branch2b1 = nn.Conv2d(out // 4, out // 2, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn_branch2b2 = nn.BatchNorm2d(out // 2)
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.conv_branch2b2 = nn.Conv2d(out // 2, out, 1, bias=False)
        self.conv_branch1 = nn.Conv2d(wide, out, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, wide, H, W) to (N, out, H, W)."""
        active = torch.relu(self.bn_branch2a(x))
        y = self.dropout_2b1(torch.relu(self.bn_branch2b1(self.conv_branch2a(active))))
        y = self.dropout_2b2(torch.relu(self.bn_branch2b2(self.conv_branch2b1(y))))
        return self.conv_branch1(active) + self.conv_branch2b2(y)


class ResNet38(nn.Module):
    """conv1a to bn7.

    Attributes:
        channels, low_channels: Of the last features, and of those at stride 4.
        stride: Output stride.
        normalisation: Of its pixels.
    """

    channels, low_channels, stride, normalisation = 4096, 256, 8, IMAGENET

    def __init__(self) -> None:
        """Random weights; BatchNorm's scales and shifts do not train, as in PSA and EPS."""
        super().__init__()
        self.conv1a = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.b2, self.b2_1, self.b2_2 = Basic(64, 128, 128, stride=2), Basic(128, 128, 128), Basic(128, 128, 128)
        self.b3, self.b3_1, self.b3_2 = Basic(128, 256, 256, stride=2), Basic(256, 256, 256), Basic(256, 256, 256)
        self.b4 = Basic(256, 512, 512, stride=2)
        self.b4_1, self.b4_2, self.b4_3, self.b4_4, self.b4_5 = (Basic(512, 512, 512) for _ in range(5))
        self.b5 = Basic(512, 512, 1024, dilations=(1, 2))
        self.b5_1, self.b5_2 = (Basic(1024, 512, 1024, dilations=(2, 2)) for _ in range(2))
        self.b6, self.b7 = (
            Bottleneck(1024, 2048, dilation=4, dropout=0.3),
            Bottleneck(2048, 4096, dilation=4, dropout=0.5),
        )
        self.bn7 = nn.BatchNorm2d(4096)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)

    def forward(self, image_n: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, 4096, H/8, W/8), each halving rounded up."""
        return self.pyramid(image_n)[1]

    def pyramid(self, image_n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) to features at stride 4 (N, 256, H/4, W/4) and (N, 4096, H/8, W/8)."""
        x, low = image_n, image_n
        for name, block in self.named_children():
            x = torch.relu(block(x)) if name == "bn7" else block(x)
            low = x if name == "b3_2" else low
        return low, x

    def pretrained(self) -> list[nn.Parameter]:
        """Parameters that start from the weights and train."""
        return [p for p in self.parameters() if p.requires_grad]

    def fresh(self) -> list[nn.Parameter]:
        """None: the head is the method's."""
        return []

    def freeze(self, stride: int) -> None:
        """Keep the weights of the blocks whose output has at most this stride; 1 freezes nothing, 2 is PSA's and EPS's way (conv1a and b2)."""
        for name, block in self.named_children():
            if stride > 1 and STRIDES.get(name[:2], self.stride) <= stride:
                block.requires_grad_(False)


# ---------------------------------------------------------------- the published file


def read_params(path: Path) -> dict[str, torch.Tensor]:
    """The published weights (ilsvrc-cls_rna-a1_cls1000_ep-0001.params, an MXNet file) as a state dict of ResNet38; MXNet is not needed.

    Args:
        path: The file.

    Returns:
        Tensors by this module's names; the 1000-way classifier is left out.

    Raises:
        ValueError: If it is no such file, or cut short.
    """
    try:
        regular(path, most=MOST_PARAMS_BYTES)
        arrays = {_name_of(key.split(":")[-1]): array for key, array in _mxnet_arrays(path.read_bytes()).items()}
    except (struct.error, ValueError, OverflowError, KeyError, IndexError, MemoryError) as error:
        raise ValueError(f"{path}: not an MXNet parameter file, or cut short ({error}); fetch it again") from None
    return {name: torch.from_numpy(array) for name, array in arrays.items() if name}


def _name_of(key: str) -> str:
    """res3b1_branch2a_weight to b3_1.conv_branch2a.weight, bn7_gamma to bn7.weight; "" for the classifier."""
    parts = key.split("_")
    if parts[0].startswith("linear1000"):
        return ""
    if parts[0] == "conv1a":
        return "conv1a.weight"
    if parts[0] == "bn7":
        return f"bn7.{STATISTICS[parts[-1]]}"
    kind, place = (
        ("conv", parts[0].removeprefix("res")) if parts[0].startswith("res") else ("bn", parts[0].removeprefix("bn"))
    )
    block = f"b{place[0]}" + (f"_{place[2:]}" if place[1] == "b" else "")
    return f"{block}.{kind}_{parts[1]}.{'weight' if kind == 'conv' else STATISTICS[parts[-1]]}"


LIST_MAGIC = 0x112
ARRAY_V1, ARRAY_V2 = 0xF993FAC8, 0xF993FAC9
"""MXNet's marks: of a list, and of arrays with 64-bit shapes (V2 also with a storage type). Older arrays begin with their number of axes, and have 32-bit shapes."""


class _Bytes:
    """Little-endian values, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def shape(self) -> tuple[int, ...]:
        """Of the array that begins here."""
        (first,) = self.take("I")
        if first not in (ARRAY_V1, ARRAY_V2):
            return self.take(f"{first}I")
        if first == ARRAY_V2 and self.take("i") != (0,):
            raise ValueError("an array is sparse, expected dense ones")
        return self.take(f"{self.take('I')[0]}q")

    def array(self) -> np.ndarray:
        """float32."""
        shape = self.shape()
        *_, kind = self.take("iii")  # device type, device, type of the values
        if kind != 0:
            raise ValueError(f"an array is of type {kind}, expected 0 (float32)")
        size = math.prod(shape)
        if size < 0 or self.at + 4 * size > len(self.data):
            raise ValueError(f"it ends after {len(self.data)} bytes, within an array of {shape}")
        self.at += 4 * size
        return np.frombuffer(self.data, "<f4", size, self.at - 4 * size).reshape(shape).copy()


def _mxnet_arrays(data: bytes) -> dict[str, np.ndarray]:
    """Named float32 arrays of an MXNet NDArray list."""
    source = _Bytes(data)
    magic, _, count = source.take("QQQ")
    if magic != LIST_MAGIC:
        raise ValueError(f"it begins with {magic:#x}, expected {LIST_MAGIC:#x}")
    arrays = [source.array() for _ in range(count)]
    (names,) = source.take("Q")
    if names != count:
        raise ValueError(f"{names} names for {count} arrays")
    keys = [source.take(f"{source.take('Q')[0]}s")[0].decode() for _ in range(names)]
    return dict(zip(keys, arrays, strict=True))


def check_fits(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Refuse a state dict that lacks tensors of the network or has others' shapes; a classifier beside them is no fault.

    Raises:
        ValueError: Naming the first tensor.
    """
    for name, tensor in wanted.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name not in state:
            raise ValueError(f"{source}: {name} is missing; expected the weights of ResNet38 (model A1)")
        if state[name].shape != tensor.shape:
            raise ValueError(f"{source}: {name} has shape {tuple(state[name].shape)}, expected {tuple(tensor.shape)}")
