"""A deformable layer (Dai et al., ICCV 2017), and a reversed gradient by which its offsets may learn (pure).

Shape legend: N images, D feature channels, h×w score grid.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from torchvision.ops import deform_conv2d

TAPS = 9
"""Positions of a 3×3 kernel."""


class Reverse(torch.autograd.Function):
    """Identity; the gradient times -alpha (Ganin and Lempitsky, ICML 2015)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, alpha: float) -> torch.Tensor:
        """x."""
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """-alpha times the gradient."""
        return -ctx.alpha * gradients[0], None


class Sampler(nn.Module):
    """A deformable 3×3 convolution, and a branch that gives the offset of each tap.

    At first all offsets are 0 and channels are not mixed.

    Attributes:
        offsets: The branch: a 3×3 convolution to (dy, dx) of each tap.
        kernel: (D, 1, 3, 3), one for each channel, or (D, D, 3, 3), dense. The taps from a channel to itself sum to 1
            at first; those to other channels are 0.
        reverse: Factor of the reversed gradient into the offsets; 0: not reversed.

    Example:
        >>> sampler = Sampler(4, side_weight=0.0, reverse=0.0)
        >>> x = torch.randn(1, 4, 5, 6)
        >>> torch.allclose(sampler(x), x, atol=1e-6)
        True
    """

    def __init__(
        self, channels: int, *, side_weight: float, reverse: float, form: Literal["channel", "dense"] = "channel"
    ) -> None:
        """Set the taps to `side_weight` around a centre of 1 - 8 side_weight.

        Args:
            channels: D.
            side_weight: Weight of the eight taps around the centre.
            reverse: Factor of the reversed gradient.
            form: One kernel for each channel, or dense.
        """
        super().__init__()
        self.offsets = nn.Conv2d(channels, 2 * TAPS, 3, padding=1)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)  # type: ignore[arg-type]
        taps = torch.full((3, 3), side_weight)
        taps[1, 1] = 1 - (TAPS - 1) * side_weight
        to_itself = torch.ones(channels, 1) if form == "channel" else torch.eye(channels)
        self.kernel = nn.Parameter(to_itself[..., None, None] * taps)
        self.reverse = reverse

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, D, h, w) to (N, D, h, w)."""
        features = features.contiguous()  # the operator knows no other memory format
        offsets = self.offsets(features).contiguous()  # (N, 18, h, w)
        if self.reverse:
            offsets = Reverse.apply(offsets, self.reverse)
        if self._centre_alone():  # the same bits, and a ninth of the samples
            return deform_conv2d(features, offsets[:, TAPS - 1 : TAPS + 1].contiguous(), self.kernel[:, :, 1:2, 1:2])
        return deform_conv2d(features, offsets, self.kernel, padding=1)

    def _centre_alone(self) -> bool:
        """Whether the taps around the centre are 0 and do not learn."""
        learns = self.kernel.requires_grad and torch.is_grad_enabled()
        return not learns and int(self.kernel.count_nonzero()) == int(self.kernel[:, :, 1, 1].count_nonzero())
