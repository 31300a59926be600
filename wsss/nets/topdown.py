"""Peak back-propagation: what in an image a peak of a class map responds to (Zhou et al., CVPR 2018, arXiv 1804.00880, section 3.3).

A pass starts with mass 1 at a peak and hands it from each layer's output to its input by transition probabilities: an input's share in a convolution with the positive weights alone.

Shape legend: N images, P passes, C classes, H×W pixels, h×w map cells.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from wsss.nets.backbones import SubgridConv2d
from wsss.nets.peaks import upsample

EPSILON = 1e-10
"""A layer's output below it has no positive source (the published code's limit; in float32 only)."""
LEAST = 1e-6
"""Added to inputs where shares are by activation alone, so that they are equal where nothing is active."""
PROBE = 64
"""Side in px of the image that shows whether a network can be gone through."""
CONVOLUTIONS = (nn.Conv2d, Conv2dSame, SubgridConv2d)
ONE_TO_ONE = {"batch_norm", "relu", "relu_", "relu6", "hardtanh", "hardtanh_"}
"""Each output has one input, which therefore gets all of its mass."""
ADDITIONS = {"add", "add_", "__add__", "__radd__", "__iadd__"}
AVERAGES = {"avg_pool2d"}
PLAIN = {"max_pool2d", "_max_pool2d", "boolean_dispatch", "cat", "clone", "contiguous", "dropout", "dropout2d", "feature_dropout", "flatten", "__getitem__",
         "pad", "_pad", "permute", "reshape", "to", "view"}  # fmt: skip
"""Their gradient is the transition already: it copies each output's mass to one input."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How mass is handed down where the paper's description leaves it open.

    Attributes:
        batchnorm: folded: BatchNorm is part of the convolution before it (alone it is one-to-one), activations pass all mass on, an average pool is a convolution;
            gradient: all these by their plain gradient, as the published code.
        residual: split: a sum's mass goes to its terms by their share; copy: whole to each of them, as the published code.
        dead_ends: Outputs without a positive source. drop: their mass is lost, as in the published code; spread: they hand it down by activation alone.
        inputs: shifted: over the minimum of their sample, as the published code; signed: as they are, negative ones as sources through negative weights. Equal after a ReLU that is 0 somewhere.
    """

    batchnorm: Literal["folded", "gradient"] = "folded"
    residual: Literal["split", "copy"] = "split"
    dead_ends: Literal["drop", "spread"] = "drop"
    inputs: Literal["shifted", "signed"] = "shifted"


PUBLISHED = Rules(batchnorm="gradient", residual="copy")
"""The published code's."""


@torch.inference_mode(False)
@torch.enable_grad()
def arrived_mass(
    model: nn.Module, image_n: torch.Tensor, starts: torch.Tensor, *, factor: int, rules: Rules, at_once: int = 8
) -> torch.Tensor:
    """Where in one image the mass of several top-down passes ends; the result does not depend on `at_once`. Full float32, on a GPU too (no TF32).

    Args:
        model: As for `bottom_up`.
        image_n: (3, H, W) normalised image.
        starts: (P, C, factor h, factor w) mass of each pass on the maps as `upsample` makes them; 1 at one peak for its response.
        factor: Of `upsample`.
        rules: As for `bottom_up`.
        at_once: Passes a batch.

    Returns:
        (P, H, W) float32.
    """
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    ):  # shares are quotients of sums
        root, maps = bottom_up(model, image_n[None].clone(), rules=rules)
        fine = upsample(maps, factor=factor)
        arrived = (
            [top_down(root, fine, part[:, None])[:, 0] for part in starts.clone().split(at_once)] if len(starts) else []
        )
    return torch.cat([torch.zeros(0, *image_n.shape[1:], device=image_n.device), *arrived])


def bottom_up(model: nn.Module, image_n: torch.Tensor, *, rules: Rules) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a network so that `top_down` can go back through it. Its maps are what they always are.

    Args:
        model: Network of convolutions, BatchNorm, ReLU or ReLU6, pools and sums, in evaluation mode.
        image_n: (N, 3, H, W) normalised images.
        rules: How mass is handed down.

    Returns:
        The images as the root of the passes, and the maps (N, C, h, w) float32.

    Raises:
        ValueError: If the network does something else on the way; names the module.
    """
    image_n = image_n.detach().clone().float().requires_grad_()
    walk = _Walk(rules)
    with torch.enable_grad(), walk.through(model):
        maps: torch.Tensor = model(image_n)
    return image_n, maps


def top_down(image_n: torch.Tensor, maps: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
    """Mass that arrives at the pixels (section 3.3), for several passes at once: what does not depend on where a pass starts is computed once for all.

    Args:
        image_n: (N, 3, H, W), the root from `bottom_up`.
        maps: Its maps (N, C, h, w), or maps made of them, e.g. upsampled.
        mass: (P, N, C, h, w) where each pass starts; 1 at a peak and 0 elsewhere gives that peak's response. Passes are linear in it.

    Returns:
        (P, N, H, W) float32, summed over colours. With BatchNorm folded, sums split and dead ends spread not negative, and of the same sum as `mass`.
    """
    (arrived,) = torch.autograd.grad(maps, image_n, mass, retain_graph=True, is_grads_batched=True)
    return arrived.sum(2)


def check_passable(model: nn.Module) -> None:
    """Refuse a network that the top-down pass cannot go through, before it is trained.

    Raises:
        ValueError: If `bottom_up` cannot run it, or gets other maps than the network gives.
    """
    was = model.training
    model.eval()
    image = torch.linspace(-1, 1, 3 * PROBE * PROBE).view(1, 3, PROBE, PROBE)
    try:
        image_n, maps = bottom_up(model, image, rules=Rules())
        with torch.no_grad():
            expected = model(image)
        if not torch.equal(maps, expected):
            raise ValueError(
                "backbone: followed step by step the network gives other maps than it does; peak back-propagation cannot go through it"
            )
        top_down(image_n, maps, torch.ones_like(maps)[None])
    finally:
        model.train(was)


def response_maps(mass: torch.Tensor) -> torch.Tensor:
    """Peak response maps R of arrived mass (P, H, W): negative parts taken off, divided by the sum; 0 where nothing arrived."""
    mass = mass.clamp(min=0)
    return mass / mass.sum((1, 2), keepdim=True).clamp(min=EPSILON)


Weights = Literal["positive", "negative", "equal"]


@dataclass
class _Share:
    """P(input | output): the input's share in a linear layer of one input, or in the sum of several.

    Attributes:
        linear: An input to what it adds to the output, by the given weights of the layer and no bias.
        rules: How.
        negative_weights: Whether the layer has any.
    """

    linear: Callable[[torch.Tensor, Weights], torch.Tensor]
    rules: Rules
    negative_weights: bool = False

    def __call__(self, mass: torch.Tensor, *inputs: torch.Tensor) -> list[torch.Tensor]:
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
            more, _ = self._hand_down(
                mass * dead, [(k, x + LEAST, "equal") for k, x in enumerate(sizes)], count=len(inputs)
            )
            arrived = [a + b for a, b in zip(arrived, more, strict=True)]
        return arrived

    def _hand_down(
        self, mass: torch.Tensor, sources: list[tuple[int, torch.Tensor, Weights]], *, count: int
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """What reaches the inputs, and where the layer's output has no source."""
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for _, x, _ in sources]
            total = reduce(
                torch.add, [self.linear(x, weights) for x, (_, _, weights) in zip(leaves, sources, strict=True)]
            )
        dead = total.detach() < EPSILON
        per_unit = mass * (~dead / total.detach().clamp(min=EPSILON))
        parts = [(k, x * g) for (k, x, _), g in zip(sources, torch.autograd.grad(total, leaves, per_unit), strict=True)]
        return [reduce(torch.add, [part for k, part in parts if k == number]) for number in range(count)], dead


@dataclass
class _Convolution:
    """A convolution with some of its weights and no bias; `scale` (out,) of the BatchNorm after it is part of them."""

    module: nn.Conv2d
    scale: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor, weights: Weights) -> torch.Tensor:
        weight = self.module.weight.detach()
        if self.scale is not None:
            weight = weight * self.scale[:, None, None, None]
        state = {
            "weight": torch.ones_like(weight)
            if weights == "equal"
            else weight.clamp(min=0)
            if weights == "positive"
            else weight.clamp(max=0)
        }
        if self.module.bias is not None:
            state["bias"] = torch.zeros_like(self.module.bias)
        return functional_call(self.module, state, (x,))


class _HandDown(torch.autograd.Function):
    """The given output; going back, what `rule` makes of the mass and the inputs."""

    @staticmethod
    def forward(ctx: Any, rule: _Share, output: torch.Tensor, *inputs: torch.Tensor) -> torch.Tensor:
        ctx.rule = rule
        ctx.save_for_backward(*inputs)
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *mass: torch.Tensor) -> Any:
        return None, None, *ctx.rule(mass[0], *ctx.saved_tensors)


class _PassOn(torch.autograd.Function):
    """The given output; going back, the mass as it is."""

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *mass: torch.Tensor) -> Any:
        return None, mass[0]


class _Walk(TorchFunctionMode):
    """Watches a network run: convolutions as modules (their padding is theirs), all else as functions."""

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self.rules, self.folding = rules, rules.batchnorm == "folded"
        self.path: list[str] = []
        self.in_convolution = 0
        self.last: tuple[torch.Tensor, _Convolution] | None = None

    @contextmanager
    def through(self, model: nn.Module) -> Iterator[None]:
        """Hooks on every module, gone afterwards."""
        with ExitStack() as stack:
            for name, module in model.named_modules():
                label = f"{name or 'the network'} ({type(module).__name__})"
                stack.callback(module.register_forward_pre_hook(partial(self._enter, label)).remove)
                stack.callback(module.register_forward_hook(self._leave).remove)
            with self:
                yield

    def _enter(self, label: str, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.path.append(label)
        if isinstance(module, nn.Conv2d):
            if type(module) not in CONVOLUTIONS:
                raise self._refusal("a convolution of its own")
            self.in_convolution += 1

    def _leave(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        handed = None
        if isinstance(module, nn.Conv2d):
            convolution = _Convolution(module)
            handed = _HandDown.apply(_Share(convolution, self.rules, negative_weights=True), output, inputs[0])
            self.last = (handed, convolution)
            self.in_convolution -= 1
        self.path.pop()
        return handed

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func.__name__
        flowing = [t for t in _tensors(args, kwargs) if t.requires_grad and not isinstance(t, nn.Parameter)]
        if self.in_convolution or not flowing:
            return func(*args, **kwargs)
        if name in ADDITIONS and len(flowing) == 2:
            return self._sum(*flowing, func=func, args=args, kwargs=kwargs)
        if name in ONE_TO_ONE | ADDITIONS:
            return self._one_to_one(flowing[0], func=func, args=args, kwargs=kwargs)
        if name in AVERAGES and self.folding:
            rule = _Share(lambda x, weights: func(x, *args[1:], **kwargs), self.rules)
            return _HandDown.apply(rule, func(flowing[0].detach(), *args[1:], **kwargs), flowing[0])
        result = func(*args, **kwargs)
        if isinstance(result, torch.Tensor) and result.requires_grad and name not in PLAIN | AVERAGES | {"__get__"}:
            raise self._refusal(name)
        return result

    def _sum(self, a: torch.Tensor, b: torch.Tensor, *, func: Any, args: Any, kwargs: Any) -> torch.Tensor:
        if a.shape != b.shape or len(args) > 2 or kwargs:
            raise self._refusal("a sum of unequal parts")
        if self.rules.residual == "copy":
            return a + b
        return _HandDown.apply(_Share(lambda x, weights: x, self.rules), a.detach() + b.detach(), a, b)

    def _one_to_one(self, x: torch.Tensor, *, func: Any, args: Any, kwargs: Any) -> torch.Tensor:
        if func is F.batch_norm:
            norm = inspect.signature(F.batch_norm).bind(*args, **kwargs)
            norm.apply_defaults()
            if norm.arguments["training"]:
                raise self._refusal("batch_norm in training mode")
            if self.last is not None and self.last[0] is x and self.folding:
                deviation = (norm.arguments["running_var"] + norm.arguments["eps"]).sqrt()
                weight = norm.arguments["weight"]
                self.last[1].scale = (torch.ones_like(deviation) if weight is None else weight.detach()) / deviation
        if not self.folding:
            return func(*args, **kwargs)
        plain = [t.detach() if isinstance(t, torch.Tensor) else t for t in args]
        keywords = {k: t.detach() if isinstance(t, torch.Tensor) else t for k, t in kwargs.items()}
        return _PassOn.apply(func(*plain, **keywords), x)

    def _refusal(self, what: str) -> ValueError:
        return ValueError(
            f"backbone: {self.path[-1] if self.path else 'the network'} uses {what}, through which peak back-propagation cannot go; "
            "it knows convolutions, BatchNorm, ReLU, ReLU6, pools and sums: choose e.g. tf_efficientnet_lite0, a ResNet, vgg16_largefov or resnet38"
        )


def _tensors(args: Any, kwargs: Any) -> list[torch.Tensor]:
    """The tensors among a function's arguments, also those in lists."""
    flat = [t for a in [*args, *kwargs.values()] for t in (a if isinstance(a, list | tuple) else [a])]
    return [t for t in flat if isinstance(t, torch.Tensor)]
