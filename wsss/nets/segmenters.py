"""Segmentation networks with a classification branch on the shared features (AE-PSL Fig. 3b).

Each gives (score maps (N, C + 1, h, w), class logits (N, C)) and has `backbone`, `normalisation`, `stride`, `multiple`, `pretrained()` and `fresh()`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from wsss.files.imaging import IMAGENET, Normalisation
from wsss.nets.backbones import build_backbone
from wsss.nets.largefov import LargeFov
from wsss.nets.weights import load_state
from wsss.settings.sections import BackboneSection

WIDTH = 128
RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}
"""Atrous rates by output stride (DeepLabV3, Chen et al., 2017)."""


class Segmenter(nn.Module):
    """Base: a backbone, a segmentation decoder, and global average pooling with a linear layer for the class logits.

    Attributes:
        backbone: The feature network; its BatchNorm layers may be frozen, a decoder's never are.
        normalisation: Of its pixels.
        stride: Input pixels per cell of the score maps.
        multiple: The grids of images whose sides are multiples of this fit without a remainder.
    """

    normalisation: Normalisation
    stride: int
    multiple: int

    def __init__(self, backbone: nn.Module, *, channels: int, num_classes: int) -> None:
        """Set up the classification branch.

        Args:
            backbone: The pretrained part.
            channels: Of its features.
            num_classes: C.
        """
        super().__init__()
        self.backbone = backbone
        self.classify = nn.Linear(channels, num_classes)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)

    def class_logits(self, features: torch.Tensor) -> torch.Tensor:
        """(N, D, h, w) to (N, C)."""
        return self.classify(features.mean((2, 3)))

    def pretrained(self) -> list[nn.Parameter]:
        """Parameters that start from ImageNet weights and train."""
        return [p for p in self.backbone.parameters() if p.requires_grad]

    def fresh(self) -> list[nn.Parameter]:
        """Parameters that start from noise."""
        old = {id(p) for p in self.pretrained()}
        return [p for p in self.parameters() if p.requires_grad and id(p) not in old]


class DeepLabV3Plus(Segmenter):
    """DeepLabV3+ (Chen et al., ECCV 2018) on any backbone, narrowed to 128 channels and separable convolutions so that it trains on a CPU. Score maps at stride 4."""

    def __init__(self, settings: BackboneSection, *, num_classes: int) -> None:
        """Build the network.

        Args:
            settings: The backbone.
            num_classes: C.
        """
        backbone = build_backbone(settings)
        if isinstance(backbone, LargeFov):
            raise ValueError(
                "segment.network deeplabv3plus needs a timm backbone; for vgg16_largefov choose segment.network largefov"
            )
        super().__init__(backbone, channels=backbone.channels, num_classes=num_classes)
        self.normalisation, self.stride, self.multiple = backbone.normalisation, 4, backbone.stride
        self.reduce = _unit(backbone.channels, WIDTH, 1)
        self.branches = nn.ModuleList(
            [_unit(WIDTH, WIDTH, 1), *(_separable(WIDTH, WIDTH, rate) for rate in RATES[backbone.stride])]
        )
        # no BatchNorm: there is one value a channel and image
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(WIDTH, WIDTH, 1), nn.ReLU())
        self.project = _unit(WIDTH * 5, WIDTH, 1)
        self.low = _unit(backbone.low_channels, 48, 1)
        self.fuse = _separable(WIDTH + 48, WIDTH, 1)
        self.segment = nn.Conv2d(WIDTH, num_classes + 1, 1)

    def forward(self, image_n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) to score maps at stride 4 and class logits."""
        low, high = self.backbone.pyramid(image_n)  # type: ignore[operator]
        x = self.reduce(high)
        pooled = self.image(x).expand(-1, -1, *x.shape[2:])
        x = self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1))
        x = F.interpolate(x, low.shape[2:], mode="bilinear", align_corners=False)
        return self.segment(self.fuse(torch.cat([x, self.low(low)], dim=1))), self.class_logits(high)


class DeepLabLargeFov(Segmenter):
    """DeepLab-LargeFOV VGG16 (the paper's): a 1x1 convolution on conv7, stride 8."""

    def __init__(self, *, weights: str, fc6_dilation: int, frozen_stride: int = 1, num_classes: int) -> None:
        """Build the network.

        Args:
            weights: hub, none or a path.
            fc6_dilation: Dilation of conv6.
            frozen_stride: Blocks up to this stride keep their weights.
            num_classes: C.
        """
        backbone = LargeFov(weights=weights, fc6_dilation=fc6_dilation, frozen_stride=frozen_stride)
        super().__init__(backbone, channels=backbone.channels, num_classes=num_classes)
        self.normalisation, self.stride, self.multiple = backbone.normalisation, backbone.stride, backbone.stride
        self.segment = nn.Conv2d(backbone.channels, num_classes + 1, 1)
        nn.init.normal_(self.segment.weight, std=0.01)
        nn.init.zeros_(self.segment.bias)  # type: ignore[arg-type]

    def forward(self, image_n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) to score maps at stride 8 and class logits."""
        features = self.backbone(image_n)
        return self.segment(features), self.class_logits(features)

    def pretrained(self) -> list[nn.Parameter]:
        """conv1 to conv5; conv6 and conv7 are new."""
        assert isinstance(self.backbone, LargeFov)
        return self.backbone.pretrained()


class DeepLabV2(Segmenter):
    """DeepLabV2-ASPP ResNet-101 (Chen et al., TPAMI 2018): the sum of four atrous 3x3 convolutions, stride 8."""

    def __init__(self, *, weights: str, num_classes: int) -> None:
        """Build the network.

        Args:
            weights: hub (torchvision), none, or a path to a ResNet-101 state dict.
            num_classes: C.

        Raises:
            ValueError: If the weights cannot be had.
        """
        try:
            net = torchvision.models.resnet101(
                weights="IMAGENET1K_V1" if weights == "hub" else None, replace_stride_with_dilation=[False, True, True]
            )
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"ResNet-101's weights cannot be fetched ({error}); give segment.weights a path to torchvision's resnet101 state dict"
            ) from None
        if weights not in ("hub", "none"):
            missing = net.load_state_dict(
                {k: v for k, v in load_state(Path(weights)).items() if not k.startswith("fc.")}, strict=False
            ).missing_keys
            if missing := [key for key in missing if not key.startswith("fc.")]:
                raise ValueError(
                    f"segment.weights {weights}: {len(missing)} tensors of torchvision's resnet101 are missing, e.g. {missing[0]}"
                )
        backbone = nn.Sequential(
            net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4
        )
        super().__init__(backbone, channels=2048, num_classes=num_classes)
        self.normalisation, self.stride, self.multiple = IMAGENET, 8, 8
        self.branches = nn.ModuleList(
            [nn.Conv2d(2048, num_classes + 1, 3, padding=rate, dilation=rate) for rate in (6, 12, 18, 24)]
        )
        for branch in self.branches:
            assert isinstance(branch, nn.Conv2d)
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)  # type: ignore[arg-type]

    def forward(self, image_n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) to score maps at stride 8 and class logits."""
        features = self.backbone(image_n)
        return torch.stack([branch(features) for branch in self.branches]).sum(0), self.class_logits(features)


def parameter_groups(model: Segmenter) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(pretrained, new) parameters of a network: each in exactly one list."""
    return model.pretrained(), model.fresh()


def build_segmenter(
    *,
    network: Literal["deeplabv3plus", "largefov", "deeplabv2"],
    weights: str,
    backbone: BackboneSection,
    num_classes: int,
) -> Segmenter:
    """The network that the settings name.

    Args:
        network: Its name.
        weights: ImageNet weights of largefov and deeplabv2.
        backbone: Backbone of deeplabv3plus, and fc6_dilation of largefov.
        num_classes: C.

    Returns:
        A module in training mode.

    Raises:
        ValueError: If weights cannot be had or do not fit.
    """
    if network == "deeplabv3plus":
        return DeepLabV3Plus(backbone, num_classes=num_classes)
    if network == "largefov":
        return DeepLabLargeFov(
            weights=weights,
            fc6_dilation=backbone.largefov.fc6_dilation,
            frozen_stride=backbone.frozen_stride,
            num_classes=num_classes,
        )
    return DeepLabV2(weights=weights, num_classes=num_classes)


def _unit(wide: int, out: int, size: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(wide, out, size, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def _separable(wide: int, out: int, rate: int) -> nn.Sequential:
    depthwise = nn.Conv2d(wide, wide, 3, padding=rate, dilation=rate, groups=wide, bias=False)
    return nn.Sequential(depthwise, nn.BatchNorm2d(wide), nn.ReLU(), *_unit(wide, out, 1))
