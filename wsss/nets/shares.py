"""By which shares the output of a layer hands its mass to its inputs (Zhou et al., CVPR 2018, section 3.3).

An input's share in a convolution is what it adds to the output through the positive weights alone.

Shape legend: N images, h×w map cells; mass has the shape of the output that it is on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import torch
from torch import nn
from torch.func import functional_call

EPSILON = 1e-10
"""An output below it has no positive source (the limit of the published code; in float32 only)."""
LEAST = 1e-6
"""Added to inputs where shares are by activation alone, so that they are equal where nothing is active."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How mass is handed down where the paper leaves it open.

    Attributes:
        batchnorm: folded: BatchNorm is part of the convolution before it (alone it is one-to-one), activations pass
            all mass on, and an average pool is a convolution. gradient: all these by their plain gradient, as in the
            published code.
        residual: split: the mass of a sum goes to its terms by their share. copy: all of it goes to each term, as in
            the published code.
        dead_ends: Outputs without a positive source. drop: their mass is lost, as in the published code. spread: they
            hand it down by activation alone.
        inputs: shifted: minus the minimum of their sample, as in the published code. signed: as they are; negative
            ones are sources through negative weights. Both are equal after a ReLU that is 0 somewhere.
    """

    batchnorm: Literal["folded", "gradient"] = "folded"
    residual: Literal["split", "copy"] = "split"
    dead_ends: Literal["drop", "spread"] = "drop"
    inputs: Literal["shifted", "signed"] = "shifted"


PUBLISHED = Rules(batchnorm="gradient", residual="copy")
"""The rules of the published code."""


Weights = Literal["positive", "negative", "equal"]


@dataclass
class Share:
    """P(input | output): the share of an input in a linear layer of one input, or in the sum of several.

    Attributes:
        linear: (input, weights) to what the input adds to the output, without bias.
        rules: How mass is handed down.
        negative_weights: Whether the layer may have any.
    """

    linear: Callable[[torch.Tensor, Weights], torch.Tensor]
    rules: Rules
    negative_weights: bool = False

    def __call__(self, mass: torch.Tensor, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """Mass of a layer's output to the mass of each input, in the inputs' shapes."""
        signed = self.rules.inputs == "signed"
        if signed:
            above = [x.clamp(min=0) for x in inputs]
        else:
            floor = reduce(torch.minimum, [x.flatten(1).amin(1).view(-1, *[1] * (x.dim() - 1)) for x in inputs])
            above = [x - floor for x in inputs]
        sources: list[tuple[int, torch.Tensor, Weights]] = [(k, x, "positive") for k, x in enumerate(above)]
        if signed and self.negative_weights:
            sources += [(k, x.clamp(max=0), "negative") for k, x in enumerate(inputs) if (x < 0).any()]
        arrived, dead = self._hand_down(mass, sources, count=len(inputs))
        if self.rules.dead_ends == "spread" and dead.any():
            sizes = [x.abs() for x in inputs] if signed else above
            alike: list[tuple[int, torch.Tensor, Weights]] = [(k, x + LEAST, "equal") for k, x in enumerate(sizes)]
            more, _ = self._hand_down(mass * dead, alike, count=len(inputs))
            arrived = [a + b for a, b in zip(arrived, more, strict=True)]
        return arrived

    def _hand_down(
        self, mass: torch.Tensor, sources: list[tuple[int, torch.Tensor, Weights]], *, count: int
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Give the mass that reaches each input, and where the layer's output has no source."""
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for _, x, _ in sources]
            added = [self.linear(x, weights) for x, (_, _, weights) in zip(leaves, sources, strict=True)]
            total = reduce(torch.add, added)
        dead = total.detach() < EPSILON
        per_unit = mass * (~dead / total.detach().clamp(min=EPSILON))
        gradients = torch.autograd.grad(total, leaves, per_unit)
        parts = [(k, x * g) for (k, x, _), g in zip(sources, gradients, strict=True)]
        return [reduce(torch.add, [part for k, part in parts if k == number]) for number in range(count)], dead


@dataclass
class Convolution:
    """A convolution with some of its weights and no bias.

    Attributes:
        module: The convolution; its weights are (out, in, kH, kW).
        scale: (out,) of the BatchNorm after it, which becomes part of the weights.
    """

    module: nn.Conv2d
    scale: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor, weights: Weights) -> torch.Tensor:
        """(N, in, h, w) to (N, out, h', w')."""
        weight = self.module.weight.detach()
        if self.scale is not None:
            weight = weight * self.scale[:, None, None, None]
        if weights == "equal":
            weight = torch.ones_like(weight)
        else:
            weight = weight.clamp(min=0) if weights == "positive" else weight.clamp(max=0)
        state = {"weight": weight}
        if self.module.bias is not None:
            state["bias"] = torch.zeros_like(self.module.bias)
        return functional_call(self.module, state, (x,))


class HandDown(torch.autograd.Function):
    """Gives the output as it is; going back, gives each input what `rule` makes of the mass."""

    @staticmethod
    def forward(ctx: Any, rule: Share, output: torch.Tensor, *inputs: torch.Tensor) -> torch.Tensor:
        """The output."""
        ctx.rule = rule
        ctx.save_for_backward(*inputs)
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *mass: torch.Tensor) -> Any:
        """The mass, handed down."""
        return None, None, *ctx.rule(mass[0], *ctx.saved_tensors)


class PassOn(torch.autograd.Function):
    """Gives the output as it is; going back, gives the input the whole mass."""

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The output."""
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *mass: torch.Tensor) -> Any:
        """The mass, handed down."""
        return None, mass[0]
