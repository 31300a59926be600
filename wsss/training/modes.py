"""Training and evaluation modes of a network's modules, set and restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def set_train_mode(model: nn.Module, *, freeze_batchnorm: bool) -> None:
    """Set training mode; with `freeze_batchnorm` the BatchNorm layers of `model.backbone` keep their statistics."""
    model.train()
    if freeze_batchnorm:
        for module in getattr(model, "backbone", model).modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


@contextmanager
def modes_restored(model: nn.Module) -> Iterator[None]:
    """Give each module its own mode back after the block, also after an exception."""
    modes = [(m, m.training) for m in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Use evaluation mode and no gradients in the block; restore each module's own mode after it."""
    with modes_restored(model), torch.inference_mode():
        yield model.eval()
