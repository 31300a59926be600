"""ESOL-style expansion and shrinkage of localisation (Li et al., NeurIPS 2022, arXiv 2209.07761).

The authors published no code, and none of the paper's numbers is confirmed. The graph, what each loss may move and
that features are clipped follow the published figure; everything else is a setting.

Round 1 is CAM's classifier. Round 2, expansion: a deformable layer between features and head learns to look elsewhere,
so that the classification loss *rises*. Less discriminative parts get their share that way. Round 3, shrinkage: a
second deformable layer, on the output of the first, learns with the ordinary loss and an area loss. It removes the
background.

Shape legend: N images, C classes, D feature channels, H×W image, h×w score grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from wsss.nets.deformable import Sampler
from wsss.settings.sections import BackboneSection, ClassifierSection, EsolSection
from wsss.stages.seeds import cam

EXPANSION, SHRINKAGE = 2, 3  # rounds


class OnTop(nn.Module):
    """A sampler on top of the network of the round before, which stays as it is.

    Attributes:
        before: The network of the round before.
        sampler: What this round trains.
    """

    def __init__(self, before: nn.Module, *, options: EsolSection, reverse: float) -> None:
        """Freeze `before` and add an untrained sampler.

        Args:
            before: The network of the round before.
            options: Side weight and kernel of the sampler.
            reverse: Factor of the reversed gradient of the sampler's offsets; 0 for none.
        """
        super().__init__()
        self.before = before.requires_grad_(False)
        channels = int(self.backbone.channels)  # type: ignore[arg-type]
        self.sampler = Sampler(channels, side_weight=options.side_weight, reverse=reverse, form=options.kernel)

    @property
    def backbone(self) -> nn.Module:
        """Round 1's feature network."""
        found: nn.Module = self.before.backbone  # type: ignore[assignment]
        return found

    def train(self, mode: bool = True) -> OnTop:
        """Set the mode of the sampler. The network before stays in evaluation mode: its BatchNorm must not move."""
        super().train(mode)
        self.before.eval()
        return self


class Expanded(OnTop):
    """A classifier with a sampler and a clip between features and head: (N, 3, H, W) to maps (N, C, h, w)."""

    before: cam.Classifier

    def __init__(self, before: cam.Classifier, *, options: EsolSection) -> None:
        """Build on round 1's network."""
        super().__init__(before, options=options, reverse=options.alpha if options.gradient == "reversal" else 0.0)
        self.clip, self.clip_ratio = options.clip, options.clip_ratio

    def features(self, image_n: torch.Tensor) -> torch.Tensor:
        """Sampled and clipped features (N, D, h, w)."""
        sampled = self.sampler(self.before.backbone(image_n))  # (N, D, h, w)
        return clip_features(sampled, ratio=self.clip_ratio, of=self.clip)

    def forward(self, image_n: torch.Tensor) -> torch.Tensor:
        """Raw score maps (N, C, h, w)."""
        return self.before.head(self.features(image_n))


class Shrunk(OnTop):
    """An expanded network with a second sampler before its head: (N, 3, H, W) to maps (N, C, h, w)."""

    before: Expanded

    def __init__(self, before: Expanded, *, options: EsolSection) -> None:
        """Build on round 2's network."""
        super().__init__(before, options=options, reverse=0.0)

    def forward(self, image_n: torch.Tensor) -> torch.Tensor:
        """Raw score maps (N, C, h, w)."""
        shrunk = self.sampler(self.before.features(image_n))  # (N, D, h, w)
        return self.before.before.head(shrunk)


class Method(cam.Method):
    """CAM, expansion, shrinkage: rounds 1, 2, 3.

    Example:
        >>> import torch
        >>> from wsss.settings.sections import BackboneSection
        >>> backbone = BackboneSection(name="test_resnet", weights="none")
        >>> esol = Method()
        >>> first = esol.build(2, round=1, backbone=backbone, previous=None)
        >>> second = esol.build(2, round=2, backbone=backbone, previous=first)
        >>> image_n = torch.zeros(1, 3, 64, 96)
        >>> tuple(second.eval()(image_n).shape)
        (1, 2, 4, 6)
        >>> any(p.requires_grad for p in first.parameters())  # round 2 trains its sampler only
        False
    """

    def __init__(self, *, options: Mapping[str, Any] | None = None, class_names: Sequence[str] = ()) -> None:
        """Check the method's own settings: keys of `seeds.esol`."""
        self.options = EsolSection.model_validate(dict(options or {}))

    def training(self, settings: ClassifierSection, *, round: int) -> ClassifierSection:
        """Return the settings with the own length and learning rate of rounds 2 and 3."""
        if round == 1:
            return settings
        own = self.options.expansion if round == EXPANSION else self.options.shrinkage
        optimiser = settings.optimiser.model_copy(update={"lr": own.lr, "head_lr_factor": 1.0, "weight_decay": 0.0})
        return settings.model_copy(update={"epochs": own.epochs, "optimiser": optimiser})

    def build(
        self, num_classes: int, *, round: int, backbone: BackboneSection, previous: nn.Module | None
    ) -> nn.Module:
        """Build the previous round's network with one sampler more."""
        if round == 1:
            return cam.Classifier(num_classes, backbone=backbone)
        before = previous
        if before is None:
            before = self.build(num_classes, round=round - 1, backbone=backbone, previous=None)
        if round == EXPANSION:
            assert isinstance(before, cam.Classifier)
            return Expanded(before, options=self.options)
        assert isinstance(before, Expanded), f"round {round}"
        return Shrunk(before, options=self.options)

    def trainable(self, model: nn.Module, *, round: int) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the offset branch of the round's sampler; with `gradient: reversal` its kernel too."""
        if round == 1:
            return super().trainable(model, round=round)
        assert isinstance(model, OnTop)
        sampler = model.sampler
        kernel = [sampler.kernel] if self.options.gradient == "reversal" else []
        sampler.kernel.requires_grad_(bool(kernel))
        return [], [*sampler.offsets.parameters(), *kernel]

    def losses(
        self, maps: torch.Tensor, batch: Mapping[str, Any], *, settings: ClassifierSection, round: int
    ) -> dict[str, torch.Tensor]:
        """Return the classification loss: in round 2 times -alpha (or reversed by the sampler), in 3 with the area."""
        ordinary = super().losses(maps, batch, settings=settings, round=round)
        if round == EXPANSION and self.options.gradient == "frozen":
            return {"expansion": -self.options.alpha * ordinary["classification"]}
        if round == SHRINKAGE:
            return {**ordinary, "area": self.options.gamma * area_loss(maps, batch["labels"])}
        return ordinary


def clip_features(features: torch.Tensor, *, ratio: float, of: Literal["channel", "map"] = "channel") -> torch.Tensor:
    """Limit features to a share of their maximum.

    With the loss reversed, an unlimited feature would let the sampler win by a few extremes. Limited, weak parts keep
    up with strong ones. The paper names a clip; its form is not confirmed.

    Args:
        features: (N, D, h, w).
        ratio: Share of the maximum; 1 changes nothing.
        of: channel: the maximum of the feature's own channel over the image; map: that of all channels.

    Returns:
        (N, D, h, w).
    """
    if ratio >= 1:
        return features
    over = (2, 3) if of == "channel" else (1, 2, 3)
    top = features.detach().amax(over, keepdim=True).clamp(min=0)  # (N, D, 1, 1) or (N, 1, 1, 1)
    return torch.minimum(features, ratio * top)


def area_loss(maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the present classes of the mean of relu(s) / max(s): the share of the image that a class's map fills.

    The paper has an area loss; its form is not confirmed.

    Args:
        maps: (N, C, h, w) raw maps.
        labels: (N, C) multi-hot.

    Returns:
        Scalar in [0, 1]; 0 without any label.
    """
    positive = maps.clamp(min=0)
    top = positive.detach().amax((2, 3), keepdim=True).clamp(min=1e-5)  # (N, C, 1, 1)
    filled = (positive / top).mean((2, 3))  # (N, C)
    return (filled * labels).sum() / labels.sum().clamp(min=1)
