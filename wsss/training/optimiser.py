"""The optimiser of a training, and the precision of its arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from wsss.runtime.console import log
from wsss.settings.sections import OptimiserSection

HALVES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""The 16-bit type of each mixed precision."""


def make_optimiser(
    parameters: tuple[list[nn.Parameter], list[nn.Parameter]], *, settings: OptimiserSection
) -> torch.optim.Optimizer:
    """Make the optimiser; every hyper-parameter is passed by keyword.

    Args:
        parameters: (pretrained, new); empty lists give no group.
        settings: Kind, learning rates, momentum, weight decay.
    """
    groups = [
        {"params": list(group), "lr": settings.lr * factor}
        for group, factor in zip(parameters, (1.0, settings.head_lr_factor), strict=True)
        if group
    ]
    if settings.kind == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)


class Precision:
    """32-bit arithmetic, or mixed precision: the network in 16 bits where that is safe, losses and weights in 32.

    Float16 has a small range, so with 16-mixed the loss is multiplied before its gradient is taken.
    """

    def __init__(self, kind: Literal["32", "bf16-mixed", "16-mixed"], *, device: torch.device) -> None:
        """Set up the loss scale, if there is one.

        Args:
            kind: compute.precision. On a CPU 16-mixed means bf16-mixed.
            device: Where the network is.
        """
        if kind == "16-mixed" and device.type == "cpu":
            log.info("compute.precision is 16-mixed, which needs a GPU: using bf16-mixed on the CPU")
            kind = "bf16-mixed"
        self.device = device
        self.half = HALVES.get(kind)
        self.scaler = torch.amp.GradScaler(device.type) if kind == "16-mixed" else None

    def forward(self, network: nn.Module, image_n: torch.Tensor) -> Any:
        """Run the network; its outputs are float32 in every precision."""
        if self.half is None:
            return network(image_n)
        with torch.autocast(self.device.type, dtype=self.half):
            outputs = network(image_n.to(self.half))
        return _to_float32(outputs)

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss whose gradient is taken."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Take an optimiser step by scaled gradients; skip it where they overflowed."""
        if self.scaler is None:
            optimiser.step()
        else:
            self.scaler.step(optimiser)
            self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The loss scale as plain numbers; empty without one."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the loss scale."""
        if self.scaler is not None:
            self.scaler.load_state_dict(dict(state))


def _to_float32(value: Any) -> Any:
    """A tensor, or tuples, lists and mappings of tensors, with float32 in place of other floating-point types."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: _to_float32(part) for key, part in value.items()}
    return type(value)(map(_to_float32, value)) if isinstance(value, tuple | list) else value
