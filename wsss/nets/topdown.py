"""Peak back-propagation: what in an image a peak of a class map responds to (Zhou et al., CVPR 2018, section 3.3).

The paper is arXiv 1804.00880. A pass starts with mass 1 at a peak. Each layer hands the mass of its output to its input
by transition probabilities (`wsss/nets/shares.py`).

Shape legend: N images, P passes, C classes, H×W pixels, h×w map cells.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn
from torch.overrides import TorchFunctionMode

from wsss.nets.peaks import upsample
from wsss.nets.shares import EPSILON, Convolution, HandDown, PassOn, Rules, Share
from wsss.nets.subgrid import SubgridConv2d

PROBE = 64
"""Side in px of the image that shows whether a network can be followed."""
CONVOLUTIONS = (nn.Conv2d, Conv2dSame, SubgridConv2d)
ONE_TO_ONE = {"batch_norm", "relu", "relu_", "relu6", "hardtanh", "hardtanh_"}
"""Functions whose outputs have one input each, which therefore gets all of the mass."""
ADDITIONS = {"add", "add_", "__add__", "__radd__", "__iadd__"}
AVERAGES = {"avg_pool2d"}
COPIES = {
    *("max_pool2d", "_max_pool2d", "boolean_dispatch", "cat", "clone", "contiguous", "dropout", "dropout2d"),
    *("feature_dropout", "flatten", "__getitem__", "pad", "_pad", "permute", "reshape", "to", "view"),
}
"""Functions whose gradient is the transition already: it copies the mass of each output to one input."""


@torch.inference_mode(False)
@torch.enable_grad()
def arrived_mass(
    model: nn.Module, image_n: torch.Tensor, starts: torch.Tensor, *, factor: int, rules: Rules, at_once: int = 8
) -> torch.Tensor:
    """Find where in one image the mass of several top-down passes ends.

    The result does not depend on `at_once`. Arithmetic is full float32, on a GPU too (no TF32).

    Args:
        model: As for `bottom_up`.
        image_n: (3, H, W) normalised image.
        starts: (P, C, factor h, factor w) mass of each pass on the maps as `upsample` makes them. It is 1 at a peak
            and 0 elsewhere for the response of that peak.
        factor: Of `upsample`.
        rules: As for `bottom_up`.
        at_once: Passes a batch.

    Returns:
        (P, H, W) float32.
    """
    cudnn = torch.backends.cudnn
    kept = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
    with cudnn.flags(**kept, allow_tf32=False):  # shares are quotients of sums
        root, maps = bottom_up(model, image_n[None].clone(), rules=rules)  # (1, C, h, w)
        fine = upsample(maps, factor=factor)  # (1, C, factor h, factor w)
        parts = starts.clone().split(at_once) if len(starts) else ()
        arrived = [top_down(root, fine, part[:, None])[:, 0] for part in parts]  # each (at_once, H, W)
    return torch.cat([torch.zeros(0, *image_n.shape[1:], device=image_n.device), *arrived])


def bottom_up(model: nn.Module, image_n: torch.Tensor, *, rules: Rules) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a network so that `top_down` can go back through it. Its maps do not change.

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
    """Compute the mass that arrives at the pixels (section 3.3), for several passes at once.

    Args:
        image_n: (N, 3, H, W), the root from `bottom_up`.
        maps: Its maps (N, C, h, w), or maps made of them, e.g. upsampled.
        mass: (P, N, C, h, w) where each pass starts; 1 at a peak and 0 elsewhere gives that peak's response. Passes are
            linear in it.

    Returns:
        (P, N, H, W) float32, summed over colours. With BatchNorm folded, sums split and dead ends spread, it is not
        negative and has the sum of `mass`.
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
                "backbone: the network gives other maps when it is followed step by step; "
                "peak back-propagation cannot go through it"
            )
        top_down(image_n, maps, torch.ones_like(maps)[None])
    finally:
        model.train(was)


def response_maps(mass: torch.Tensor) -> torch.Tensor:
    """Peak response maps R (P, H, W) of arrived mass (P, H, W).

    Negative mass becomes 0. Each map is divided by its sum; a map without mass is 0.
    """
    mass = mass.clamp(min=0)
    return mass / mass.sum((1, 2), keepdim=True).clamp(min=EPSILON)


class _Walk(TorchFunctionMode):
    """Watches a network run: convolutions as modules, whose padding is their own, and all else as functions."""

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self.rules, self.folding = rules, rules.batchnorm == "folded"
        self.path: list[str] = []
        self.in_convolution = 0
        self.last: tuple[torch.Tensor, Convolution] | None = None

    @contextmanager
    def through(self, model: nn.Module) -> Iterator[None]:
        """Put hooks on every module, and remove them after the block."""
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
            convolution = Convolution(module)
            handed = HandDown.apply(Share(convolution, self.rules, negative_weights=True), output, inputs[0])
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
            rule = Share(lambda x, weights: func(x, *args[1:], **kwargs), self.rules)
            return HandDown.apply(rule, func(flowing[0].detach(), *args[1:], **kwargs), flowing[0])
        result = func(*args, **kwargs)
        if isinstance(result, torch.Tensor) and result.requires_grad and name not in COPIES | AVERAGES | {"__get__"}:
            raise self._refusal(name)
        return result

    def _sum(self, a: torch.Tensor, b: torch.Tensor, *, func: Any, args: Any, kwargs: Any) -> torch.Tensor:
        if a.shape != b.shape or len(args) > 2 or kwargs:
            raise self._refusal("a sum of unequal parts")
        if self.rules.residual == "copy":
            return a + b
        return HandDown.apply(Share(lambda x, weights: x, self.rules), a.detach() + b.detach(), a, b)

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
        return PassOn.apply(func(*plain, **keywords), x)

    def _refusal(self, what: str) -> ValueError:
        where = self.path[-1] if self.path else "the network"
        return ValueError(
            f"backbone: {where} uses {what}, through which peak back-propagation cannot go; it knows convolutions, "
            "BatchNorm, ReLU, ReLU6, pools and sums: "
            "choose e.g. tf_efficientnet_lite0, a ResNet, vgg16_largefov or resnet38"
        )


def _tensors(args: Any, kwargs: Any) -> list[torch.Tensor]:
    """The tensors among a function's arguments, also those in lists."""
    flat = [t for a in [*args, *kwargs.values()] for t in (a if isinstance(a, list | tuple) else [a])]
    return [t for t in flat if isinstance(t, torch.Tensor)]
