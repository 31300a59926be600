"""Peaks of class response maps, and the mean over them.

Source: Zhou et al., "Weakly Supervised Instance Segmentation using Class Peak Response", CVPR 2018, arXiv 1804.00880.

Shape legend: N images, C classes, h×w map cells.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F


def upsample(maps: torch.Tensor, *, factor: int) -> torch.Tensor:
    """Make maps `factor` times finer: bilinear with aligned corners, as in the published code.

    Args:
        maps: (N, C, h, w) response maps.
        factor: 1 changes nothing.

    Returns:
        (N, C, factor h, factor w).
    """
    if factor == 1:
        return maps
    return F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=True)


def find_peaks(maps: torch.Tensor, *, window: int) -> torch.Tensor:
    """Find the cells that are the maximum of the window around them (section 3.2).

    Of equal cells in a window, only the first in reading order is a peak.

    Args:
        maps: (N, C, h, w) response maps.
        window: Side of the window in cells, odd.

    Returns:
        (N, C, h, w) bool; each map has at least one peak, its maximum.

    Example:
        >>> find_peaks(torch.tensor([[[[1.0, 5.0, 2.0, 2.0]]]]), window=3).tolist()
        [[[[False, True, False, False]]]]
    """
    h, w = maps.shape[2:]
    _, first = F.max_pool2d(maps.detach().contiguous(), window, stride=1, padding=window // 2, return_indices=True)
    return first == torch.arange(h * w, device=maps.device).view(h, w)


def filter_peaks(maps: torch.Tensor, peaks: torch.Tensor, *, at_least: torch.Tensor) -> torch.Tensor:
    """Keep the peaks whose value reaches a limit, and the highest peak of each map in any case.

    Args:
        maps: (N, C, h, w) response maps.
        peaks: (N, C, h, w) bool.
        at_least: (N, C) limits.

    Returns:
        (N, C, h, w) bool.
    """
    values = maps.detach()
    limit = torch.minimum(at_least, values.amax((2, 3)))
    return peaks & (values >= limit[..., None, None])


def map_level(
    maps: torch.Tensor, *, kind: Literal["median", "mean", "max", "fixed", "none"], value: float = 0.0
) -> torch.Tensor:
    """Compute the level that peaks must reach to take part in training.

    Args:
        maps: (N, C, h, w) response maps.
        kind: A statistic of each map, `value` (fixed), or no limit (none).
        value: Level of fixed.

    Returns:
        (N, C) levels. The median of an even number of cells is the lower one.
    """
    flat = maps.detach().flatten(2)
    if kind in ("fixed", "none"):
        return flat.new_full(flat.shape[:2], value if kind == "fixed" else -torch.inf)
    return {"median": lambda: flat.median(2).values, "mean": lambda: flat.mean(2), "max": lambda: flat.amax(2)}[kind]()


def relative_level(maps: torch.Tensor, *, share: float) -> torch.Tensor:
    """Compute `share` of the maximum of each map.

    Args:
        maps: (N, C, h, w) response maps.
        share: In [0, 1].

    Returns:
        (N, C) levels. For a map that is nowhere positive, the level is its maximum.
    """
    top = maps.detach().amax((2, 3))
    return torch.where(top > 0, share * top, top)


def peak_mean(maps: torch.Tensor, peaks: torch.Tensor, *, gradient: Literal["mean", "sum"]) -> torch.Tensor:
    """Compute the mean of each map over its peaks, s = 1/N sum_k M(i_k, j_k) (section 3.2).

    Args:
        maps: (N, C, h, w).
        peaks: (N, C, h, w) bool, at least one a map.
        gradient: mean: 1/N at each peak, as in the paper; sum: 1 at each peak, as in the published code.

    Returns:
        (N, C).
    """
    total = torch.where(peaks, maps, 0).sum((2, 3))
    mean = total / peaks.sum((2, 3))
    return mean if gradient == "mean" else total + (mean - total).detach()
