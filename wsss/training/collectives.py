"""What the processes of one training exchange, so that their number changes its result by rounding alone.

Each process runs the network on its rows of every batch. Outputs and batch are then gathered. Each process computes
the losses of the *whole* batch, so that a loss may be any function of it. For example, one process may have more
labelled pixels than another. The gradient goes back through the process's own rows. The sum of these gradients over
the processes is the gradient that one process would have.

Dropout is the exception: each process draws for its own rows, so that such networks depend on the number of processes.

With one process these functions do nothing. Shape legend: B images of a batch, N of them in this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import nn


def size() -> int:
    """Number of processes that share this training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def wait() -> None:
    """Wait until every process has reached this call."""
    if size() > 1:
        dist.barrier()


def bounds(count: int) -> list[int]:
    """First row of each process in a batch of `count`, then `count`; parts differ by at most one row."""
    return [k * count // size() for k in range(size() + 1)]


def own_rows(count: int) -> slice:
    """The rows of this process in a batch of `count`."""
    edges = bounds(count)
    return slice(edges[rank()], edges[rank() + 1])


def whole(own: Any, *, count: int) -> Any:
    """Gather the rows of all processes, in order.

    Args:
        own: A tensor (N, ...), or tuples, lists and mappings of such; other values stay as they are.
        count: B.

    Returns:
        The same with tensors (B, ...). Gradients flow to the rows of this process only.
    """
    if isinstance(own, torch.Tensor):
        return _gather(own, count=count)
    if isinstance(own, Mapping):
        return {key: whole(value, count=count) for key, value in own.items()}
    if isinstance(own, tuple | list) and any(isinstance(value, torch.Tensor) for value in own):
        return type(own)(whole(value, count=count) for value in own)
    return own


def _gather(own: torch.Tensor, *, count: int) -> torch.Tensor:
    if size() == 1:
        return own
    edges = bounds(count)
    lengths = [end - begin for begin, end in pairwise(edges)]
    padded = own.detach().new_zeros(max(lengths), *own.shape[1:])  # gathered tensors must have equal shapes
    padded[: len(own)] = own.detach()
    pieces: list[torch.Tensor] = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(pieces, padded)
    pieces = [piece[:length] for piece, length in zip(pieces, lengths, strict=True)]
    pieces[rank()] = own  # with its gradient
    return torch.cat(pieces)


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over the processes."""
    if size() == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    for dtype in {g.dtype for g in grads}:
        alike = [g for g in grads if g.dtype == dtype]
        flat = torch.cat([g.flatten() for g in alike])
        dist.all_reduce(flat)
        for grad, values in zip(alike, flat.split([g.numel() for g in alike]), strict=True):
            grad.copy_(values.view_as(grad))


def any_signal(number: int, *, device: torch.device) -> int:
    """Number of a signal that any process has received, or 0; the same answer in all of them."""
    if size() == 1:
        return number
    found = torch.tensor(number, device=device)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return int(found)


def share_batchnorm(model: nn.Module, *, device: torch.device) -> None:
    """Let BatchNorm layers in training mode normalise by the whole batch.

    Args:
        model: Changed in place; its parameters stay the same objects.
        device: Where it is.

    Raises:
        ValueError: If there are such layers on a CPU, where torch has no BatchNorm that processes could share.
    """
    learning = [n for n, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    if size() == 1 or not learning:
        return
    if device.type != "cuda":
        raise ValueError(
            f"{len(learning)} BatchNorm layers (e.g. {learning[0]}) take statistics of the whole batch, "
            "which several processes can share on GPUs only; use one process (--devices 1), "
            "or keep the statistics of a backbone (backbone.freeze_batchnorm)"
        )
    convert_sync_batchnorm(model)  # timm's: torch's own drops the activation of timm's BatchNormAct2d


def check_equal(model: nn.Module, *, epoch: int) -> None:
    """Compare the weights of the processes, which equal sums of gradients should have kept equal.

    Raises:
        ValueError: If they have drifted apart.
    """
    if size() == 1:
        return
    sums = torch.stack([v.detach().double().sum() for v in model.state_dict().values() if v.is_floating_point()])
    everyone = _gather(sums[None], count=size())  # (processes, tensors)
    if not torch.allclose(everyone, everyone[:1].expand_as(everyone), rtol=1e-6, atol=1e-6):
        raise ValueError(
            f"after epoch {epoch} the {size()} processes of this training hold different weights; "
            "train with one process (--devices 1), and report this as a fault"
        )
