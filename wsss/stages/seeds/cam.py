"""Plain class activation maps (Zhou et al., CVPR 2016): a classifier whose head is a 1x1 convolution, pooled by the mean.

Pooling the maps of a 1x1 convolution equals the convolution of pooled features, so the maps that are pooled are the CAMs; without a bias nothing has to be taken off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from wsss.nets.backbones import build_backbone
from wsss.settings.sections import BackboneSection, ClassifierSection


class Classifier(nn.Module):
    """Backbone and a 1x1 head: (N, 3, H, W) to raw maps (N, C, h, w)."""

    def __init__(self, num_classes: int, *, backbone: BackboneSection, bias: bool = False) -> None:
        """Build the network.

        Args:
            num_classes: C.
            backbone: The backbone's settings.
            bias: Whether the head has one, 0 at first.
        """
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.head = nn.Conv2d(self.backbone.channels, num_classes, 1, bias=bias)
        nn.init.normal_(self.head.weight, std=0.01)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def forward(self, image_n: torch.Tensor) -> torch.Tensor:
        """Raw score maps."""
        return self.head(self.backbone(image_n))


class Method:
    """CAM."""

    def __init__(self, *, options: Mapping[str, Any] | None = None, class_names: Sequence[str] = ()) -> None:
        """CAM has no settings of its own."""

    def build(
        self, num_classes: int, *, round: int, backbone: BackboneSection, previous: nn.Module | None
    ) -> nn.Module:
        """A fresh classifier, whatever the round."""
        return Classifier(num_classes, backbone=backbone)

    def training(self, settings: ClassifierSection, *, round: int) -> ClassifierSection:
        """As they are."""
        return settings

    def trainable(self, model: nn.Module, *, round: int) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """All of it; conv6 and conv7 of LargeFOV and the head are new."""
        assert isinstance(model, Classifier)
        return model.backbone.pretrained(), [*model.backbone.fresh(), *model.head.parameters()]

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Mean over cells: (N, C, h, w) to (N, C)."""
        return maps.mean((2, 3))

    def losses(
        self, maps: torch.Tensor, batch: Mapping[str, Any], *, settings: ClassifierSection, round: int
    ) -> dict[str, torch.Tensor]:
        """The classification loss."""
        logits, labels = self.pool(maps), batch["labels"]
        loss = (
            squared_label_loss(logits, labels)
            if settings.loss == "squared"
            else F.multilabel_soft_margin_loss(logits, labels)
        )
        return {"classification": loss}

    def scores(self, model: nn.Module, image_n: torch.Tensor, class_ids: Sequence[int]) -> torch.Tensor:
        """Signed maps (N, K, h, w) of the given classes."""
        maps: torch.Tensor = model(image_n)
        return maps[:, [c - 1 for c in class_ids]]


def squared_label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """J = 1/(2N) sum_i sum_k (softmax(logits)_ik - y_ik/|y_i|_1)^2 (AE-PSL, after HCP, Wei et al., TPAMI 2016).

    Args:
        logits: (N, C).
        labels: (N, C) multi-hot; an image without labels has target 0.

    Returns:
        Scalar.
    """
    target = labels / labels.sum(1, keepdim=True).clamp(min=1)
    return 0.5 * (logits.softmax(1) - target).square().sum(1).mean()
