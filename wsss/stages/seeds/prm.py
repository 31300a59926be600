"""PRM as a seed method (Zhou et al., CVPR 2018, arXiv 1804.00880; code: ZhouYanzhao/PRM).

Peak stimulation in training (section 3.2): a class is judged by the mean over the peaks of its map, so that training
raises several places instead of the whole plane. Summed peak response maps as scores (section 3.3): each peak is traced
back to the pixels it comes from (`wsss/nets/topdown.py`).

Shape legend: N images, C foreground classes, K asked-for classes, P peaks, H×W pixels, h×w score grid; h'×w' the finer
grid on which peaks are looked for.
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
    """CAM's network with a bias, pooled over peaks; its scores are what the peaks respond to.

    Example:
        >>> import torch
        >>> maps = torch.zeros(1, 1, 5, 7)  # (N, C, h, w)
        >>> maps[0, 0, 1, 1], maps[0, 0, 3, 5] = 4.0, 2.0  # two peaks
        >>> Method(options={"subpixel": 1, "filter": "mean"}).pool(maps).tolist()
        [[3.0]]
        >>> fine, peaks = Method(options={"peak_threshold": 0.75}).traced_peaks(maps)
        >>> peaks.nonzero().tolist()  # the second peak is below 0.75 of the first
        [[0, 0, 1, 1]]
    """

    def __init__(self, *, options: Mapping[str, Any] | None = None, class_names: Sequence[str] = ()) -> None:
        """Check the method's own settings: keys of `seeds.prm`."""
        self.options = o = PrmSection.model_validate(dict(options or {}))
        self.rules = Rules(batchnorm=o.batchnorm, residual=o.residual, dead_ends=o.dead_ends, inputs=o.inputs)

    def build(
        self, num_classes: int, *, round: int, backbone: BackboneSection, previous: nn.Module | None
    ) -> nn.Module:
        """Build a fresh classifier.

        Raises:
            ValueError: If peak back-propagation cannot go through the backbone.
        """
        model = cam.Classifier(num_classes, backbone=backbone, bias=True)
        check_passable(model)
        return model

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Take the mean over the peaks of each map: (N, C, h, w) to (N, C)."""
        o = self.options
        if not o.stimulation:
            return super().pool(maps)
        fine = upsample(maps, factor=o.subpixel)  # (N, C, h', w')
        level = map_level(fine, kind=o.filter, value=o.filter_value)  # (N, C)
        peaks = filter_peaks(fine, find_peaks(fine, window=o.window), at_least=level)  # (N, C, h', w') bool
        return peak_mean(fine, peaks, gradient=o.gradient)

    def traced_peaks(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Find the peaks worth tracing back, at least one in each map.

        Args:
            maps: (N, C, h, w).

        Returns:
            The maps (N, C, h', w') on the grid of `response_subpixel`, and the peaks (N, C, h', w') bool.
        """
        o = self.options
        fine = upsample(maps, factor=o.response_subpixel)  # (N, C, h', w')
        level = map_level(fine, kind=o.filter, value=o.filter_value)  # (N, C)
        level = level.maximum(relative_level(fine, share=o.peak_threshold))
        return fine, filter_peaks(fine, find_peaks(fine, window=o.window), at_least=level)

    def responses(self, model: nn.Module, image_n: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Trace mass from `starts` (P, C, h', w'), on the grid of `traced_peaks`, to an image (3, H, W): (P, H, W)."""
        return arrived_mass(model, image_n, starts, factor=self.options.response_subpixel, rules=self.rules)

    def scores(self, model: nn.Module, image_n: torch.Tensor, class_ids: Sequence[int]) -> torch.Tensor:
        """Sum the response maps of each class's peaks, as density: (N, K, h, w), nowhere negative.

        A response that is the same everywhere adds 1 to every cell. With the setting `scores: maps`, return the class
        maps instead: signed, without the head's bias.
        """
        if self.options.scores == "maps":
            assert isinstance(model, cam.Classifier)
            assert model.head.bias is not None
            bias = model.head.bias[[c - 1 for c in class_ids]]  # (K,)
            return super().scores(model, image_n, class_ids) - bias[:, None, None]
        channels = torch.tensor([c - 1 for c in class_ids], device=image_n.device)  # (K,)
        return torch.stack([self._summed(model, view, channels) for view in image_n])

    def _summed(self, model: nn.Module, image_n: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
        """(K, h, w) of one image (3, H, W); `channels` (K,) are those of the asked-for classes."""
        maps: torch.Tensor = model(image_n[None])  # (1, C, h, w)
        planes = self.traced_peaks(maps)[1][0]  # (C, h', w') bool
        if self.options.scores == "together":  # one start a class, with all its peaks: P = K
            owner = torch.arange(len(channels), device=maps.device)
            starts = maps.new_zeros(len(channels), *planes.shape)  # (P, C, h', w')
            starts[owner, channels] = planes[channels].to(maps.dtype)
        else:  # one start a peak
            owner, row, column = planes[channels].nonzero().T  # (P,) each
            starts = maps.new_zeros(len(owner), *planes.shape)  # (P, C, h', w')
            starts[torch.arange(len(owner), device=maps.device), channels[owner], row, column] = 1
        arrived = response_maps(self.responses(model, image_n, starts)) * starts.sum((1, 2, 3))[:, None, None]
        summed = arrived.new_zeros(len(channels), *arrived.shape[1:]).index_add(0, owner, arrived)  # (K, H, W)
        return F.interpolate(summed[None], maps.shape[2:], mode="area")[0] * summed[0].numel()
