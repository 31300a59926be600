"""Segmentation networks with a classification branch on the shared features (AE-PSL Fig. 3b).

Each gives score maps (N, C + 1, h, w) and class logits (N, C). `SEGMENTERS` lists them by name.

Shape legend: N images, H×W pixels, h×w cells of the score maps, D channels, C foreground classes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from wsss.files.imaging import IMAGENET, Normalisation
from wsss.nets.backbones import LargeFov, build_backbone, load_state
from wsss.settings.sections import BackboneSection

WIDTH = 128
RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}
"""Atrous rates by output stride (DeepLabV3, Chen et al., 2017)."""


class Segmenter(nn.Module):
    """A backbone, a segmentation decoder, and a linear layer on the features' mean for the class logits.

    Attributes:
        backbone: The feature network. Settings can freeze its BatchNorm layers, never those of a decoder.
        normalisation: Of the image's pixels.
        stride: Pixels per cell of the score maps.
        multiple: An image whose sides are multiples of this has grids without a remainder.
    """

    normalisation: Normalisation
    stride: int
    multiple: int

    def __init__(self, backbone: nn.Module, *, channels: int, num_classes: int) -> None:
        """Set up the classification branch.

        Args:
            backbone: The pretrained part.
            channels: D, of its features.
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
    """DeepLabV3+ (Chen et al., ECCV 2018) on the configured backbone; score maps at stride 4.

    It has 128 channels and separable convolutions, so that it trains on a CPU.
    """

    def __init__(self, *, weights: str = "", backbone: BackboneSection, num_classes: int) -> None:
        """Build the network.

        Args:
            weights: Not read: the backbone names its own.
            backbone: The backbone, with a timm name or resnet38.
            num_classes: C.

        Raises:
            ValueError: If the backbone has no features at stride 4, or its weights cannot be had.
        """
        net = build_backbone(backbone)
        if isinstance(net, LargeFov):
            needed = "segment.network deeplabv3plus needs a timm backbone"
            raise ValueError(f"{needed}; for vgg16_largefov choose segment.network largefov")
        super().__init__(net, channels=net.channels, num_classes=num_classes)
        self.normalisation, self.stride, self.multiple = net.normalisation, 4, net.stride
        self.reduce = _unit(net.channels, WIDTH, 1)
        self.branches = nn.ModuleList([_unit(WIDTH, WIDTH, 1)])
        self.branches.extend(_separable(WIDTH, WIDTH, rate) for rate in RATES[net.stride])
        # no BatchNorm: there is one value per channel and image
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(WIDTH, WIDTH, 1), nn.ReLU())
        self.project = _unit(WIDTH * 5, WIDTH, 1)
        self.low = _unit(net.low_channels, 48, 1)
        self.fuse = _separable(WIDTH + 48, WIDTH, 1)
        self.segment = nn.Conv2d(WIDTH, num_classes + 1, 1)

    def forward(self, image_n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) to score maps at stride 4 and class logits."""
        # (N, L, H/4, W/4) and (N, D, h, w)
        low, high = self.backbone.pyramid(image_n)  # type: ignore[operator]
        x = self.reduce(high)  # (N, 128, h, w)
        pooled = self.image(x).expand(-1, -1, *x.shape[2:])  # (N, 128, h, w), one value per map
        x = self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1))  # (N, 128, h, w)
        x = F.interpolate(x, low.shape[2:], mode="bilinear", align_corners=False)  # (N, 128, H/4, W/4)
        return self.segment(self.fuse(torch.cat([x, self.low(low)], dim=1))), self.class_logits(high)


class DeepLabLargeFov(Segmenter):
    """DeepLab-LargeFOV VGG16, AE-PSL's: a 1x1 convolution on conv7, stride 8."""

    def __init__(self, *, weights: str, backbone: BackboneSection, num_classes: int) -> None:
        """Build the network.

        Args:
            weights: hub (torchvision), none, or a path to a VGG16 state dict.
            backbone: Only `largefov.fc6_dilation` and `frozen_stride` are read.
            num_classes: C.

        Raises:
            ValueError: If the weights cannot be had or do not fit.
        """
        dilation = backbone.largefov.fc6_dilation
        net = LargeFov(weights=weights, fc6_dilation=dilation, frozen_stride=backbone.frozen_stride)
        super().__init__(net, channels=net.channels, num_classes=num_classes)
        self.normalisation, self.stride, self.multiple = net.normalisation, net.stride, net.stride
        self.segment = nn.Conv2d(net.channels, num_classes + 1, 1)
        nn.init.normal_(self.segment.weight, std=0.01)
        nn.init.zeros_(self.segment.bias)  # type: ignore[arg-type]

    def forward(self, image_n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) to score maps at stride 8 and class logits."""
        features = self.backbone(image_n)  # (N, 1024, h, w)
        return self.segment(features), self.class_logits(features)

    def pretrained(self) -> list[nn.Parameter]:
        """conv1 to conv5; conv6 and conv7 are new."""
        assert isinstance(self.backbone, LargeFov)
        return self.backbone.pretrained()


class DeepLabV2(Segmenter):
    """DeepLabV2-ASPP ResNet-101 (Chen et al., TPAMI 2018): the sum of four atrous 3x3 convolutions, stride 8."""

    def __init__(self, *, weights: str, backbone: BackboneSection | None = None, num_classes: int) -> None:
        """Build the network.

        Args:
            weights: hub (torchvision), none, or a path to a ResNet-101 state dict.
            backbone: Not read.
            num_classes: C.

        Raises:
            ValueError: If the weights cannot be had or do not fit.
        """
        net = _resnet101(weights)
        stem = [net.conv1, net.bn1, net.relu, net.maxpool]
        layers = nn.Sequential(*stem, net.layer1, net.layer2, net.layer3, net.layer4)
        super().__init__(layers, channels=2048, num_classes=num_classes)
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
        features = self.backbone(image_n)  # (N, 2048, h, w)
        return torch.stack([branch(features) for branch in self.branches]).sum(0), self.class_logits(features)


SEGMENTERS: dict[str, Callable[..., Segmenter]] = {
    "deeplabv3plus": DeepLabV3Plus,
    "largefov": DeepLabLargeFov,
    "deeplabv2": DeepLabV2,
}
"""Networks by their name in segment.network; `NETWORKS` in wsss/settings/segment.py says which bring a backbone."""


def build_segmenter(*, network: str, weights: str, backbone: BackboneSection, num_classes: int) -> Segmenter:
    """The network that the settings name.

    Args:
        network: A key of `SEGMENTERS`.
        weights: ImageNet weights of a network that brings its own backbone: hub, none or a path.
        backbone: The section `backbone`.
        num_classes: C.

    Returns:
        A module in training mode.

    Raises:
        ValueError: If weights cannot be had or do not fit.
    """
    return SEGMENTERS[network](weights=weights, backbone=backbone, num_classes=num_classes)


def parameter_groups(model: Segmenter) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(pretrained, new) parameters of a network: each in exactly one list."""
    return model.pretrained(), model.fresh()


def _resnet101(weights: str) -> torchvision.models.ResNet:
    """ResNet-101 with the strides of its last two stages replaced by dilation."""
    hub = "IMAGENET1K_V1" if weights == "hub" else None
    try:
        net = torchvision.models.resnet101(weights=hub, replace_stride_with_dilation=[False, True, True])
    except (OSError, RuntimeError) as error:
        remedy = "give segment.weights a path to torchvision's resnet101 state dict"
        raise ValueError(f"ResNet-101's weights cannot be fetched ({error}); {remedy}") from None
    if weights in ("hub", "none"):
        return net
    state = {key: value for key, value in load_state(Path(weights)).items() if not key.startswith("fc.")}
    missing = [key for key in net.load_state_dict(state, strict=False).missing_keys if not key.startswith("fc.")]
    if missing:
        found = f"{len(missing)} tensors of torchvision's resnet101 are missing, e.g. {missing[0]}"
        raise ValueError(f"segment.weights {weights}: {found}")
    return net


def _unit(wide: int, out: int, size: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(wide, out, size, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def _separable(wide: int, out: int, rate: int) -> nn.Sequential:
    depthwise = nn.Conv2d(wide, wide, 3, padding=rate, dilation=rate, groups=wide, bias=False)
    return nn.Sequential(depthwise, nn.BatchNorm2d(wide), nn.ReLU(), *_unit(wide, out, 1))
