"""EPS: saliency as pseudo-pixel supervision (Lee et al., "Railroad is not a Train", CVPR 2021, arXiv 2105.08965).

After the published code (halbielee/EPS). The network has one map more than CAM, for the background, after the class
maps. Besides the classification loss, the softmax of all maps has to explain the saliency map. Present classes explain
what is salient. The background map explains the rest, together with present classes whose maps meet nothing salient
(the rails beside a train).

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
"""Added to each pixel of a map before its area is summed, as in the published code. So an empty map has overlap 0."""


class Method(cam.Method):
    """CAM's network and classification loss, with a background map, the saliency loss and softmax scores.

    Example:
        >>> import torch
        >>> from wsss.settings.sections import ClassifierSection
        >>> maps = torch.zeros(1, 3, 2, 2)  # (N, C + 1, h, w): two classes and the background
        >>> batch = {"labels": torch.tensor([[1.0, 0.0]]), "saliency": torch.ones(1, 32, 32)}
        >>> losses = Method().losses(maps, batch, settings=ClassifierSection(), round=1)
        >>> sorted(losses)
        ['classification', 'saliency']
        >>> round(losses["saliency"].item(), 4)  # each map explains a third: (0.5 * 0 + 0.5 * (1 - 2/3) - 1)²
        0.6944
    """

    def __init__(self, *, options: Mapping[str, Any] | None = None, class_names: Sequence[str] = ()) -> None:
        """Check the method's own settings.

        Args:
            options: Keys of `seeds.eps`.
            class_names: Names by class id, background first; needed by the selection `predefined`.

        Raises:
            ValueError: If a class of `background_classes` is unknown.
        """
        self.options = EpsSection.model_validate(dict(options or {}))
        names, chosen = list(class_names)[1:], self.options.background_classes
        if unknown := [n for n in chosen if names and n not in names]:
            raise ValueError(
                f"seeds.eps.background_classes: {', '.join(unknown)} not in the data set; "
                f"expected some of {', '.join(names)}"
            )
        self.forced = [n in chosen for n in names]  # C: never salient

    def build(
        self, num_classes: int, *, round: int, backbone: BackboneSection, previous: nn.Module | None
    ) -> nn.Module:
        """Build a fresh network with C + 1 maps, the background's last."""
        return cam.Classifier(num_classes + 1, backbone=backbone)

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Take the mean over cells of the class maps: (N, C + 1, h, w) to (N, C). The background has no label."""
        return super().pool(maps[:, :-1])

    def losses(
        self, maps: torch.Tensor, batch: Mapping[str, Any], *, settings: ClassifierSection, round: int
    ) -> dict[str, torch.Tensor]:
        """Return the classification loss, and the saliency loss of `batch["saliency"]` (N, c, c) in [0, 1]."""
        o, labels = self.options, batch["labels"] > 0  # (N, C) bool
        raised = batch["saliency"].float() ** o.saliency_gamma  # (N, c, c)
        saliency = resize_saliency(raised, size=(maps.shape[2], maps.shape[3]), mode=o.saliency_resize)  # (N, h, w)
        probabilities = maps.softmax(1)  # (N, C + 1, h, w)
        progress = batch.get("progress", 1.0)
        foreground = self._foreground(probabilities.detach(), saliency, labels, progress=progress)  # (N, C)
        estimate = estimated_saliency(probabilities, labels=labels, foreground=foreground, mix=o.mix)  # (N, h, w)
        return {
            **super().losses(maps, batch, settings=settings, round=round),
            "saliency": o.saliency_weight * F.mse_loss(estimate, saliency),
        }

    def scores(self, model: nn.Module, image_n: torch.Tensor, class_ids: Sequence[int]) -> torch.Tensor:
        """Return probabilities (N, K, h, w) of the given classes over all C + 1 maps; class 0 is the background."""
        maps: torch.Tensor = model(image_n)  # (N, C + 1, h, w)
        background = maps.shape[1] - 1
        return maps.softmax(1)[:, [c - 1 if c else background for c in class_ids]]  # (N, K, h, w)

    def _foreground(
        self, probabilities: torch.Tensor, saliency: torch.Tensor, labels: torch.Tensor, *, progress: float = 1.0
    ) -> torch.Tensor:
        """(N, C) bool: the classes whose maps count as salient; `progress` is the share of the training done."""
        if self.options.selection == "adaptive" and progress >= self.options.warmup:
            return labels & (overlap(probabilities[:, :-1], saliency) > self.options.overlap)
        if self.options.selection == "predefined":
            return labels & ~torch.tensor(self.forced, device=labels.device)
        return labels


def resize_saliency(saliency: torch.Tensor, *, size: tuple[int, int], mode: Literal["area", "nearest"]) -> torch.Tensor:
    """Bring saliency (N, c, c) to the grid of the maps.

    Args:
        saliency: In [0, 1].
        size: (h, w).
        mode: area: the mean of a cell's pixels; nearest: its first pixel, as in the published code.

    Returns:
        (N, h, w) float32.
    """
    return F.interpolate(saliency[:, None].float(), size, mode=mode)[:, 0]


def overlap(probabilities: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """O_c = |B_c and B_s| / |B_c|: the share of a class map's region that is salient (the paper's map selection).

    B_c and B_s are the class map and the saliency, both strictly above 0.5.

    Args:
        probabilities: (N, C, h, w) class maps in [0, 1].
        saliency: (N, h, w) in [0, 1].

    Returns:
        (N, C) in [0, 1), detached; 0 for a map that is nowhere above 0.5.
    """
    region, salient = (probabilities.detach() > 0.5).float(), (saliency > 0.5).float()  # (N, C, h, w), (N, h, w)
    return (region * salient[:, None]).sum((2, 3)) / (region + EPSILON).sum((2, 3))


def estimated_saliency(
    probabilities: torch.Tensor, *, labels: torch.Tensor, foreground: torch.Tensor, mix: float
) -> torch.Tensor:
    """M_s = λ M_fg + (1 - λ)(1 - M_bg), the saliency that the maps imply (the paper's pseudo-pixel supervision).

    M_fg sums the maps of the present classes that count as salient. M_bg sums those of the other present classes and
    the background map.

    Args:
        probabilities: (N, C + 1, h, w), softmax over all maps, the background's last. Absent classes count in the
            softmax only.
        labels: (N, C) bool, present classes.
        foreground: (N, C) bool, those that count as salient.
        mix: λ in [0, 1].

    Returns:
        (N, h, w) in [0, 1].
    """
    sides = (foreground, ~foreground)
    salient, rest = ((labels & side).to(probabilities.dtype)[..., None, None] for side in sides)  # (N, C, 1, 1)
    classes, background = probabilities[:, :-1], probabilities[:, -1]  # (N, C, h, w), (N, h, w)
    m_fg, m_bg = (salient * classes).sum(1), (rest * classes).sum(1) + background  # (N, h, w)
    return mix * m_fg + (1 - mix) * (1 - m_bg)
