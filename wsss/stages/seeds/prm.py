"""PRM as a seed method: peak stimulation in training, summed peak response maps as scores (Zhou et al., CVPR 2018, arXiv 1804.00880; code: ZhouYanzhao/PRM).

A class is judged by the mean over the peaks of its map, so that training raises several places instead of the whole plane; each peak is then traced back to the pixels it comes from (`wsss/nets/topdown.py`).

Shape legend: N images, C foreground classes, K asked-for classes, P peaks, h×w score grid, H×W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from wsss.nets.peaks import filter_peaks, find_peaks, map_level, peak_mean, relative_level, upsample
from wsss.nets.topdown import Rules, arrived_mass, check_passable, response_maps
from wsss.settings.sections import BackboneSection, PrmSection
from wsss.stages.seeds import cam


class Method(cam.Method):
    """CAM's network with a bias, pooled over peaks; its scores are what the peaks respond to."""

    def __init__(self, *, options: Mapping[str, Any] | None = None, class_names: Sequence[str] = ()) -> None:
        """`options`: keys of `seeds.prm`."""
        self.options = o = PrmSection.model_validate(dict(options or {}))
        self.rules = Rules(batchnorm=o.batchnorm, residual=o.residual, dead_ends=o.dead_ends, inputs=o.inputs)

    def build(
        self, num_classes: int, *, round: int, backbone: BackboneSection, previous: nn.Module | None
    ) -> nn.Module:
        """A fresh classifier.

        Raises:
            ValueError: If peak back-propagation cannot go through the backbone.
        """
        model = cam.Classifier(num_classes, backbone=backbone, bias=True)
        check_passable(model)
        return model

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Mean over the peaks of each map: (N, C, h, w) to (N, C)."""
        o = self.options
        if not o.stimulation:
            return super().pool(maps)
        fine = upsample(maps, factor=o.subpixel)
        peaks = filter_peaks(
            fine, find_peaks(fine, window=o.window), at_least=map_level(fine, kind=o.filter, value=o.filter_value)
        )
        return peak_mean(fine, peaks, gradient=o.gradient)

    def traced_peaks(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The maps (N, C, h, w) on the grid of `response_subpixel`, and the peaks worth tracing back in them, bool; at least one a map."""
        o = self.options
        fine = upsample(maps, factor=o.response_subpixel)
        level = map_level(fine, kind=o.filter, value=o.filter_value).maximum(
            relative_level(fine, share=o.peak_threshold)
        )
        return fine, filter_peaks(fine, find_peaks(fine, window=o.window), at_least=level)

    def responses(self, model: nn.Module, image_n: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Mass (P, H, W) that arrives at the pixels of an image (3, H, W) from `starts` (P, C, h, w) on the grid of `traced_peaks`."""
        return arrived_mass(model, image_n, starts, factor=self.options.response_subpixel, rules=self.rules)

    def scores(self, model: nn.Module, image_n: torch.Tensor, class_ids: Sequence[int]) -> torch.Tensor:
        """Sum of the response maps of each class's peaks, as density: a response that is the same everywhere adds 1 to every cell. (N, K, h, w), nowhere negative.

        With `scores: maps` the class maps, signed, without the head's bias.
        """
        if self.options.scores == "maps":
            assert isinstance(model, cam.Classifier)
            assert model.head.bias is not None
            return (
                super().scores(model, image_n, class_ids) - model.head.bias[[c - 1 for c in class_ids]][:, None, None]
            )
        channels = torch.tensor([c - 1 for c in class_ids], device=image_n.device)
        return torch.stack([self._summed(model, view, channels) for view in image_n])

    def _summed(self, model: nn.Module, image_n: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = model(image_n[None])
        planes = self.traced_peaks(maps)[1][0]
        if self.options.scores == "together":
            owner = torch.arange(len(channels), device=maps.device)
            starts = maps.new_zeros(len(channels), *planes.shape)
            starts[owner, channels] = planes[channels].to(maps.dtype)
        else:
            owner, row, column = planes[channels].nonzero().T
            starts = maps.new_zeros(len(owner), *planes.shape)
            starts[torch.arange(len(owner), device=maps.device), channels[owner], row, column] = 1
        arrived = response_maps(self.responses(model, image_n, starts)) * starts.sum((1, 2, 3))[:, None, None]
        summed = arrived.new_zeros(len(channels), *arrived.shape[1:]).index_add(0, owner, arrived)
        return F.interpolate(summed[None], maps.shape[2:], mode="area")[0] * summed[0].numel()
