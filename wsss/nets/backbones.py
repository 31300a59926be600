"""Networks that give feature maps, each with its own pixel normalisation.

Shape legend: N images, H×W pixels, h×w cells of the output stride, D channels.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from wsss.files.imaging import Normalisation
from wsss.nets.largefov import LargeFov, build_largefov
from wsss.nets.resnet38 import ResNet38, build_resnet38
from wsss.nets.subgrid import SubgridConv2d
from wsss.nets.weights import PACKAGED, check_fits, freeze_through, load_state, match_in_order, packaged_weights
from wsss.runtime.out_of_memory import is_out_of_memory
from wsss.settings.sections import BackboneSection

PROBE = 128
"""Side in px of the empty image whose features tell the stride."""
PACKAGED_PIXELS = Normalisation(mean=(127.0,) * 3, std=(128.0,) * 3)
"""The packaged weights were trained on (x - 127) / 128; timm states 127.5 for the same network."""


class Backbone(nn.Module):
    """Feature maps of a timm model.

    Attributes:
        channels: D.
        low_channels: Channels of the stride-4 features.
        stride: Output stride.
        normalisation: Of its pixels.
    """

    def __init__(self, settings: BackboneSection) -> None:
        """Build the network with its weights.

        Args:
            settings: Name, weights, output stride.

        Raises:
            ValueError: If timm does not know the name, the stride, or the weights cannot be had.
        """
        super().__init__()
        self.net: Any = _timm_network(settings)
        for parent in list(self.net.modules()):
            for name, child in parent.named_children():
                if SubgridConv2d.fits(child):
                    setattr(parent, name, SubgridConv2d.of(child))
        reductions = [info["reduction"] for info in self.net.feature_info]
        self._low = max((k for k, r in enumerate(reductions) if r <= 4), default=0)
        self.stride = int(settings.output_stride)
        self.channels = int(self.net.num_features)
        self.low_channels = int(self.net.feature_info[self._low]["num_chs"])
        config = self.net.pretrained_cfg
        mean, std = (tuple(255 * v for v in config[key]) for key in ("mean", "std"))
        self.normalisation = PACKAGED_PIXELS if settings.name == PACKAGED else Normalisation(mean=mean, std=std)
        kept = [info["module"] for info in self.net.feature_info if info["reduction"] <= settings.frozen_stride]
        freeze_through(self.net, kept[-1] if kept else "")

    def forward(self, image_n: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, D, h, w)."""
        return self.net.forward_features(image_n)

    def pyramid(self, image_n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) to features at stride 4 (N, low_channels, H/4, W/4), and those of `forward` (N, D, h, w)."""
        final, low = self.net.forward_intermediates(image_n, indices=[self._low], stop_early=False)
        return low[0], final

    def pretrained(self) -> list[nn.Parameter]:
        """Parameters that start from the weights and train."""
        return [p for p in self.parameters() if p.requires_grad]

    def fresh(self) -> list[nn.Parameter]:
        """Parameters that start from noise."""
        return []


@dataclass(frozen=True, kw_only=True)
class OwnBackbone:
    """A network that timm does not have.

    Attributes:
        build: Makes it.
        stride: The one output stride that it has.
        weights: Those that `backbone.weights` may name, for messages.
    """

    build: Callable[[BackboneSection], LargeFov | ResNet38]
    stride: int
    weights: str


OWN = {
    "vgg16_largefov": OwnBackbone(build=build_largefov, stride=8, weights="hub, none or a path"),
    "resnet38": OwnBackbone(build=build_resnet38, stride=8, weights="none or a path"),
}
"""Networks outside timm, by `backbone.name`: a new one is a module and an entry here."""


def build_backbone(settings: BackboneSection) -> Backbone | LargeFov | ResNet38:
    """Build the backbone that the settings name.

    Args:
        settings: Name, weights, output stride, and what stays frozen.

    Returns:
        A module with channels, stride, normalisation, pretrained(), fresh(), and forward (N, 3, H, W) to (N, D, h, w).

    Raises:
        ValueError: For an unknown name, a stride it cannot have, or weights that cannot be had.

    Example:
        >>> net = build_backbone(BackboneSection(weights="none", output_stride=16))
        >>> tuple(net(torch.zeros(1, 3, 64, 96)).shape)
        (1, 1280, 4, 6)
    """
    name, own = settings.name, OWN.get(settings.name)
    choices = own.weights if own else "hub, none or a path"
    if own and settings.output_stride != own.stride:
        raise ValueError(
            f"backbone.output_stride is {settings.output_stride}, but {name} has stride {own.stride} only; "
            f"set it to {own.stride}"
        )
    if settings.weights == "package" and name != PACKAGED:
        raise ValueError(f"backbone.weights is 'package', which holds {PACKAGED} only; for {name} use {choices}")
    if settings.weights == "hub" and "hub" not in choices:
        raise ValueError(f"backbone.weights is 'hub', which does not have {name}; use {choices}")
    return own.build(settings) if own else Backbone(settings)


def _timm_network(settings: BackboneSection) -> Any:
    name = settings.name
    if not timm.is_model(name):
        close = ", ".join(difflib.get_close_matches(name, [*OWN, *timm.list_models()], n=5))
        raise ValueError(f"backbone.name: timm has no model {name!r}" + (f"; near: {close}" if close else ""))
    net = _create(name, hub=settings.weights == "hub", stride=settings.output_stride)
    if settings.weights == "package":
        net.load_state_dict(match_in_order(packaged_weights(), net.state_dict()))
    elif settings.weights not in ("hub", "none"):
        state, wanted = load_state(Path(settings.weights)), net.state_dict()
        check_fits(state, wanted, source=settings.weights, net=name)
        net.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=False)
    return net


def _create(name: str, *, hub: bool, stride: int) -> Any:
    """Make a timm model without its classifier; refuse it if its features do not come at `stride`."""
    options: dict[str, Any] = {"pretrained": hub, "num_classes": 0, "global_pool": ""}
    try:
        try:
            net: Any = timm.create_model(name, **options, output_stride=stride)
        except TypeError:  # knows no such argument: its own stride is 32, if anything
            net = timm.create_model(name, **options)
        with torch.no_grad():
            shape = tuple(net.eval().forward_features(torch.zeros(1, 3, PROBE, PROBE)).shape)
        net.train()
    except (OSError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        if not hub:
            raise ValueError(
                f"backbone: {name} gives no feature maps ({error}); choose a convolutional network"
            ) from None
        raise ValueError(
            f"backbone: the weights of {name} cannot be fetched ({error}); "
            "give backbone.weights a path to a state dict, or none"
        ) from None
    except (TypeError, NotImplementedError, AssertionError) as error:
        reason = f"{type(error).__name__} {error}"
        raise ValueError(
            f"backbone: {name} cannot have output stride {stride} ({reason}); try 32 or another network"
        ) from None
    if shape != (1, net.num_features, PROBE // stride, PROBE // stride):
        raise ValueError(
            f"backbone: {name} gives features of {shape} for {PROBE} px, not of stride {stride}; "
            "try 32 or another network"
        )
    return net
