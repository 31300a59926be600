"""Class activation maps: CAM (Zhou et al., CVPR 2016, arXiv 1512.04150).

A classifier whose head is a 1x1 convolution, pooled by the mean. Pooling the maps of a 1x1 convolution equals the
convolution of pooled features (section 2, equations 1 and 2). So the maps that are pooled are the CAMs. The head has no
bias: nothing has to be subtracted from its maps.

Shape legend: N images, C foreground classes, K asked-for classes, D feature channels, H×W image, h×w score grid.
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
    """A backbone and a 1x1 head: images (N, 3, H, W) to raw score maps (N, C, h, w)."""

    def __init__(self, num_classes: int, *, backbone: BackboneSection, bias: bool = False) -> None:
        """Build the network.

        Args:
            num_classes: C.
            backbone: The backbone's settings.
            bias: Whether the head has a bias; it starts at 0.
        """
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.head = nn.Conv2d(self.backbone.channels, num_classes, 1, bias=bias)
        nn.init.normal_(self.head.weight, std=0.01)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    def forward(self, image_n: torch.Tensor) -> torch.Tensor:
        """Raw score maps (N, C, h, w)."""
        features = self.backbone(image_n)  # (N, D, h, w)
        return self.head(features)  # (N, C, h, w)


class Method:
    """CAM.

    Example:
        >>> import torch
        >>> from wsss.settings.sections import BackboneSection
        >>> backbone = BackboneSection(name="test_resnet", weights="none")
        >>> cam = Method()
        >>> model = cam.build(3, round=1, backbone=backbone, previous=None).eval()
        >>> maps = cam.scores(model, torch.zeros(1, 3, 64, 96), [1, 3])  # two of the three classes
        >>> tuple(maps.shape)  # a cell for each 16 px
        (1, 2, 4, 6)
        >>> cam.pool(torch.tensor([[[[3.0, 1.0]]]])).tolist()
        [[2.0]]
    """

    def __init__(self, *, options: Mapping[str, Any] | None = None, class_names: Sequence[str] = ()) -> None:
        """CAM has no settings of its own."""

    def build(
        self, num_classes: int, *, round: int, backbone: BackboneSection, previous: nn.Module | None
    ) -> nn.Module:
        """Build a fresh classifier in every round."""
        return Classifier(num_classes, backbone=backbone)

    def training(self, settings: ClassifierSection, *, round: int) -> ClassifierSection:
        """Return the settings unchanged."""
        return settings

    def trainable(self, model: nn.Module, *, round: int) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return all parameters. New are the head, and conv6 and conv7 of LargeFOV."""
        assert isinstance(model, Classifier)
        return model.backbone.pretrained(), [*model.backbone.fresh(), *model.head.parameters()]

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Take the mean over cells: (N, C, h, w) to (N, C)."""
        return maps.mean((2, 3))

    def losses(
        self, maps: torch.Tensor, batch: Mapping[str, Any], *, settings: ClassifierSection, round: int
    ) -> dict[str, torch.Tensor]:
        """Return the classification loss of maps (N, C, h, w) and `batch["labels"]` (N, C)."""
        logits, labels = self.pool(maps), batch["labels"]  # (N, C) both
        classify = squared_label_loss if settings.loss == "squared" else F.multilabel_soft_margin_loss
        return {"classification": classify(logits, labels)}

    def scores(self, model: nn.Module, image_n: torch.Tensor, class_ids: Sequence[int]) -> torch.Tensor:
        """Return signed maps (N, K, h, w) of the given classes."""
        maps: torch.Tensor = model(image_n)  # (N, C, h, w)
        return maps[:, [c - 1 for c in class_ids]]  # (N, K, h, w): ids begin at 1, channels at 0


def squared_label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """J = 1/(2N) sum_i sum_k (softmax(logits)_ik - y_ik/|y_i|_1)^2.

    AE-PSL (Wei et al., CVPR 2017) names this loss; the form is HCP's (Wei et al., TPAMI 2016).

    Args:
        logits: (N, C).
        labels: (N, C) multi-hot; an image without labels has target 0.

    Returns:
        Scalar.
    """
    target = labels / labels.sum(1, keepdim=True).clamp(min=1)  # (N, C)
    return 0.5 * (logits.softmax(1) - target).square().sum(1).mean()
