"""EPS: saliency as pseudo-pixel supervision (Lee et al., "Railroad is not a Train", CVPR 2021, arXiv 2105.08965), after its published code (halbielee/EPS).

One map more than CAM, for the background, after the class maps. Besides the classification loss, the softmax of all maps has to explain the saliency map: present classes as what is
salient, the background map and those present classes whose maps do not lie on anything salient (rails beside a train) as what is not.

Shape legend: N images of a batch, C foreground classes, K asked-for classes, h×w score grid, c×c crop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from wsss.settings.sections import BackboneSection, ClassifierSection, EpsSection
from wsss.stages.seeds import cam

EPSILON = 1e-4
"""Added to each pixel of a map before its area is summed, as the published code does: an empty map has overlap 0."""


class Method(cam.Method):
    """CAM's network and classification loss, a background map, the saliency loss, and softmax scores."""

    def __init__(self, *, options: Mapping[str, Any] | None = None, class_names: Sequence[str] = ()) -> None:
        """Remember the settings.

        Args:
            options: Keys of `seeds.eps`.
            class_names: By id, background first; needed by the strategy predefined.

        Raises:
            ValueError: If a class of `background_classes` is unknown.
        """
        self.options = EpsSection.model_validate(dict(options or {}))
        names = list(class_names)[1:]
        if unknown := [n for n in self.options.background_classes if names and n not in names]:
            raise ValueError(
                f"seeds.eps.background_classes: {', '.join(unknown)} not in the data set; expected some of {', '.join(names)}"
            )
        self.forced = [n in self.options.background_classes for n in names]

    def build(
        self, num_classes: int, *, round: int, backbone: BackboneSection, previous: nn.Module | None
    ) -> nn.Module:
        """A fresh network with C + 1 maps, the background's last."""
        return cam.Classifier(num_classes + 1, backbone=backbone)

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Mean over cells of the class maps: (N, C + 1, h, w) to (N, C). The background has no label."""
        return super().pool(maps[:, :-1])

    def losses(
        self, maps: torch.Tensor, batch: Mapping[str, Any], *, settings: ClassifierSection, round: int
    ) -> dict[str, torch.Tensor]:
        """The classification loss, and the saliency loss of `batch["saliency"]` (N, c, c) in [0, 1]."""
        o = self.options
        saliency = resize_saliency(
            batch["saliency"].float() ** o.saliency_gamma, size=(maps.shape[2], maps.shape[3]), mode=o.saliency_resize
        )
        probabilities = maps.softmax(1)
        foreground = self._foreground(
            probabilities.detach(), saliency, batch["labels"] > 0, progress=batch.get("progress", 1.0)
        )
        estimate = estimated_saliency(probabilities, labels=batch["labels"] > 0, foreground=foreground, mix=o.mix)
        return {
            **super().losses(maps, batch, settings=settings, round=round),
            "saliency": o.saliency_weight * F.mse_loss(estimate, saliency),
        }

    def scores(self, model: nn.Module, image_n: torch.Tensor, class_ids: Sequence[int]) -> torch.Tensor:
        """Probabilities (N, K, h, w) over all C + 1 maps, of the given classes; class 0 is the background."""
        maps: torch.Tensor = model(image_n)
        background = maps.shape[1] - 1
        return maps.softmax(1)[:, [c - 1 if c else background for c in class_ids]]

    def _foreground(
        self, probabilities: torch.Tensor, saliency: torch.Tensor, labels: torch.Tensor, *, progress: float = 1.0
    ) -> torch.Tensor:
        """(N, C) bool: which classes' maps count as salient, by the strategy; `progress` is the share of the training done, in [0, 1]."""
        if self.options.selection == "adaptive" and progress >= self.options.warmup:
            return labels & (overlap(probabilities[:, :-1], saliency) > self.options.overlap)
        if self.options.selection == "predefined":
            return labels & ~torch.tensor(self.forced, device=labels.device)
        return labels


def resize_saliency(saliency: torch.Tensor, *, size: tuple[int, int], mode: Literal["area", "nearest"]) -> torch.Tensor:
    """Saliency (N, c, c) on the grid of the maps.

    Args:
        saliency: In [0, 1].
        size: (h, w).
        mode: area: the mean of a cell's pixels; nearest: its first pixel, as the published code.

    Returns:
        (N, h, w) float32.
    """
    return F.interpolate(saliency[:, None].float(), size, mode=mode)[:, 0]


def overlap(probabilities: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """O_c = |B_c and B_s| / |B_c|, the share of a class map's region that is salient; both binarised at 0.5 (strictly above).

    Args:
        probabilities: (N, C, h, w) class maps in [0, 1].
        saliency: (N, h, w) in [0, 1].

    Returns:
        (N, C) in [0, 1), detached; 0 for a map that is nowhere above 0.5.
    """
    region, salient = (probabilities.detach() > 0.5).float(), (saliency > 0.5).float()
    return (region * salient[:, None]).sum((2, 3)) / (region + EPSILON).sum((2, 3))


def estimated_saliency(
    probabilities: torch.Tensor, *, labels: torch.Tensor, foreground: torch.Tensor, mix: float
) -> torch.Tensor:
    """λ M_fg + (1 - λ)(1 - M_bg): M_fg sums the maps of the present classes that count as salient, M_bg those of the others and the background map.

    Args:
        probabilities: (N, C + 1, h, w), softmax over all maps, the background's last. Absent classes take part in the softmax alone.
        labels: (N, C) bool, present classes.
        foreground: (N, C) bool, those that count as salient.
        mix: λ in [0, 1].

    Returns:
        (N, h, w) in [0, 1].
    """
    salient, rest = ((labels & side).to(probabilities.dtype)[..., None, None] for side in (foreground, ~foreground))
    classes, background = probabilities[:, :-1], probabilities[:, -1]
    m_fg, m_bg = (salient * classes).sum(1), (rest * classes).sum(1) + background
    return mix * m_fg + (1 - mix) * (1 - m_bg)
