"""The VGG16 of DeepLab-LargeFOV, which takes torchvision's weights.

Shape legend: N images, H×W pixels, h×w cells of stride 8.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from torch import nn

from wsss.files.imaging import IMAGENET
from wsss.nets.weights import freeze_through, load_state
from wsss.settings.sections import BackboneSection


class LargeFov(nn.Module):
    """VGG16 DeepLab-LargeFOV up to conv7 (Chen et al., ICLR 2015; the base of AE-PSL): stride 8, all pools 3 wide.

    Attributes:
        channels: Of the features, 1024.
        stride: Output stride, 8.
        normalisation: Of its pixels.

    Example:
        >>> net = LargeFov(weights="none", fc6_dilation=12)
        >>> tuple(net(torch.zeros(1, 3, 33, 65)).shape)
        (1, 1024, 5, 9)
    """

    def __init__(self, *, weights: str, fc6_dilation: int, frozen_stride: int = 1) -> None:
        """Build the network.

        Args:
            weights: hub (torchvision), none, or a path to a VGG16 state dict.
            fc6_dilation: Dilation of conv6.
            frozen_stride: Blocks whose pools give this stride or a smaller one keep their weights. 1: none; 4: conv1
                and conv2.

        Raises:
            ValueError: If the weights cannot be had or do not fit.
        """
        super().__init__()
        layers: list[nn.Module] = []
        wide = 3
        for block, (count, width) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1):
            dilation = 2 if block == 5 else 1
            for _ in range(count):
                layers += [nn.Conv2d(wide, width, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
                wide = width
            layers.append(nn.MaxPool2d(3, stride=2 if block <= 3 else 1, padding=1))
        self.features = nn.Sequential(*layers, nn.AvgPool2d(3, stride=1, padding=1))
        self.conv6 = nn.Conv2d(512, 1024, 3, padding=fc6_dilation, dilation=fc6_dilation)
        self.conv7 = nn.Conv2d(1024, 1024, 1)
        self.dropout = nn.Dropout(0.5)
        for layer in (self.conv6, self.conv7):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.channels, self.stride, self.normalisation = 1024, 8, IMAGENET
        if weights != "none":
            self._load(_hub_vgg16() if weights == "hub" else load_state(Path(weights)))
        pools = [str(k) for k, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        freeze_through(self.features, pools[int(math.log2(frozen_stride)) - 1] if frozen_stride > 1 else "")

    def forward(self, image_n: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, 1024, h, w)."""
        x = self.features(image_n)  # (N, 512, h, w)
        x = self.dropout(torch.relu(self.conv6(x)))  # (N, 1024, h, w)
        return self.dropout(torch.relu(self.conv7(x)))

    def pretrained(self) -> list[nn.Parameter]:
        """Parameters of conv1 to conv5 that train."""
        return [p for p in self.features.parameters() if p.requires_grad]

    def fresh(self) -> list[nn.Parameter]:
        """Parameters of conv6 and conv7, which start from noise."""
        return [*self.conv6.parameters(), *self.conv7.parameters()]

    def _load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the convolutions of a VGG16 in their order; between them that network has other layers."""
        convs = [m for m in self.features if isinstance(m, nn.Conv2d)]
        names = sorted({int(k.split(".")[1]) for k in state if re.match(r"features\.\d+\.", k)})
        if len(names) != len(convs):
            raise ValueError(f"VGG16 weights: found {len(names)} layers of features, expected {len(convs)}")
        for conv, name in zip(convs, names, strict=True):
            weight, bias = (state.get(f"features.{name}.{part}") for part in ("weight", "bias"))
            if weight is None or bias is None:
                raise ValueError(f"VGG16 weights: features.{name} has no weight or no bias")
            if weight.shape != conv.weight.shape or bias.shape != (conv.out_channels,):
                found, expected = tuple(weight.shape), tuple(conv.weight.shape)
                raise ValueError(f"VGG16 weights: found a convolution of {found}, expected {expected}")
            conv.load_state_dict({"weight": weight, "bias": bias})


def build_largefov(settings: BackboneSection) -> LargeFov:
    """Build the network that the settings describe; errors as `LargeFov`."""
    dilation = settings.largefov.fc6_dilation
    return LargeFov(weights=settings.weights, fc6_dilation=dilation, frozen_stride=settings.frozen_stride)


def _hub_vgg16() -> Mapping[str, torch.Tensor]:
    try:
        return torchvision.models.vgg16(weights="IMAGENET1K_V1").state_dict()
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"VGG16's weights cannot be fetched ({error}); "
            "give backbone.weights a path to torchvision's vgg16 state dict"
        ) from None
