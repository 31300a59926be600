"""ResNet38 (Wu et al., "Wider or Deeper", Pattern Recognition 2019; model A1) with stride 8, as PSA and EPS use it.

Module names are those of PSA's code (jiwoon-ahn/psa), so that state dicts made for it fit. Its published weights are an
MXNet file, which docs/convert_resnet38.py converts. Shape legend: N images, H×W pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from wsss.files.imaging import IMAGENET
from wsss.nets.weights import check_fits, load_state
from wsss.settings.sections import BackboneSection

STRIDES = {"co": 1, "b2": 2, "b3": 4}
"""Stride of a block's output by the first letters of its name; the others have 8."""


class Basic(nn.Module):
    """Pre-activated block of two 3×3 convolutions.

    The shortcut is the input, or a projection of the activated input where the shape changes.
    """

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
        active = torch.relu(self.bn_branch2a(x))  # (N, wide, H, W)
        shortcut = self.conv_branch1(active) if hasattr(self, "conv_branch1") else x  # (N, out, H/stride, W/stride)
        y = torch.relu(self.bn_branch2b1(self.conv_branch2a(active)))  # (N, middle, H/stride, W/stride)
        return shortcut + self.conv_branch2b1(y)


class Bottleneck(nn.Module):
    """Pre-activated block of 1×1, dilated 3×3 and 1×1 convolutions.

    Dropout takes whole channels before the last two. The shortcut is always a projection.
    """

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
        y = self.dropout_2b1(torch.relu(self.bn_branch2b1(self.conv_branch2a(active))))  # (N, out/4, H, W)
        y = self.dropout_2b2(torch.relu(self.bn_branch2b2(self.conv_branch2b1(y))))  # (N, out/2, H, W)
        return self.conv_branch1(active) + self.conv_branch2b2(y)


class ResNet38(nn.Module):
    """The layers conv1a to bn7.

    Attributes:
        channels: Of the last features, 4096.
        low_channels: Of the features at stride 4, 256.
        stride: Output stride, 8.
        normalisation: Of its pixels.

    Example:
        >>> net = ResNet38().eval()
        >>> tuple(net(torch.zeros(1, 3, 65, 48)).shape)
        (1, 4096, 9, 6)
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
        self.b6 = Bottleneck(1024, 2048, dilation=4, dropout=0.3)
        self.b7 = Bottleneck(2048, 4096, dilation=4, dropout=0.5)
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
        """Keep the weights of the blocks whose output has at most this stride.

        Args:
            stride: 1 freezes nothing; 2 freezes conv1a and b2, as PSA and EPS do.
        """
        for name, block in self.named_children():
            if stride > 1 and STRIDES.get(name[:2], self.stride) <= stride:
                block.requires_grad_(False)


def build_resnet38(settings: BackboneSection) -> ResNet38:
    """Build the network that the settings describe.

    Raises:
        ValueError: If its weights cannot be read or do not fit.
    """
    net = ResNet38()
    if settings.weights != "none":
        path = Path(settings.weights)
        if path.suffix == ".params":
            raise ValueError(
                f"{path}: found MXNet's format, expected safetensors; convert it once: "
                f"python docs/convert_resnet38.py {path} {path.with_suffix('.safetensors')}"
            )
        state, wanted = load_state(path), net.state_dict()
        check_fits(state, wanted, source=settings.weights, net="ResNet38 (model A1)")
        net.load_state_dict({name: state[name] for name in wanted if name in state}, strict=False)
    net.freeze(settings.frozen_stride)
    return net
