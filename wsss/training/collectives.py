"""What the processes of one training exchange, so that their number changes its result by rounding alone. With one process nothing here does anything.

Each process runs the network on its rows of every batch. Outputs and batch are then gathered, and each process computes the losses of the *whole* batch, so that a loss may be any function of it
(a mean over labelled pixels, say, of which one process has more than another). Its gradient goes back through the process's own rows; the sum over processes is the gradient of one process.

Shape legend: B images of a batch, N of them in this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.overrides import TorchFunctionMode

DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d)
"""Those that multiply by what they draw."""


def size() -> int:
    """How many processes share this training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def wait() -> None:
    """Return when every process has come here."""
    if size() > 1:
        dist.barrier()


def bounds(count: int) -> list[int]:
    """Where the rows of each process begin in a batch of `count`, and `count`; parts differ by at most one row."""
    return [k * count // size() for k in range(size() + 1)]


def own_rows(count: int) -> slice:
    """The rows of this process in a batch of `count`."""
    edges = bounds(count)
    return slice(edges[rank()], edges[rank() + 1])


def whole(own: Any, *, count: int) -> Any:
    """The rows of all processes, in order.

    Args:
        own: A tensor (N, ...), or tuples, lists and mappings of such; other values stay as they are.
        count: B.

    Returns:
        The same with tensors (B, ...). Gradients flow to this process's own rows alone.
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
    padded = own.detach().new_zeros(max(lengths), *own.shape[1:])
    padded[: len(own)] = own.detach()
    pieces: list[torch.Tensor] = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(pieces, padded)
    pieces = [piece[:length] for piece, length in zip(pieces, lengths, strict=True)]
    pieces[rank()] = own
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
    """The number of a signal that any process has got, or 0: the same answer in all of them."""
    if size() == 1:
        return number
    found = torch.tensor(number, device=device)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return int(found)


def whole_batch_dropout(count: int) -> AbstractContextManager[Any]:
    """Within the block, torch's dropout functions draw for the whole batch of `count` and use this process's rows, so that random streams stay those of one process."""
    return nullcontext() if size() == 1 else _WholeBatchDropout(count)


class _WholeBatchDropout(TorchFunctionMode):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.rows = count, own_rows(count)

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func not in DROPOUTS:
            return func(*args, **kwargs)
        x, *others = args or [kwargs.pop("input")]
        if len(x) != self.rows.stop - self.rows.start:
            raise ValueError(
                f"dropout of a tensor with {len(x)} rows where a process has {self.rows.stop - self.rows.start} images: use one process for this network"
            )
        channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        ones = torch.ones(self.count, *x.shape[1:], dtype=x.dtype, device=x.device)
        return (
            x
            * func(ones.contiguous(memory_format=torch.channels_last) if channels_last else ones, *others, **kwargs)[
                self.rows
            ]
        )


def share_batchnorm(model: nn.Module, *, device: torch.device) -> None:
    """Let BatchNorm layers in training mode normalise by the whole batch; the model is changed in place, its parameters stay the same objects.

    Raises:
        ValueError: If there are such layers and the processes run on a CPU, where torch has no BatchNorm that they could share.
    """
    learning = [
        name for name, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training
    ]
    if size() == 1 or not learning:
        return
    if device.type != "cuda":
        raise ValueError(
            f"{len(learning)} BatchNorm layers (e.g. {learning[0]}) take statistics of the whole batch, which several processes can do on GPUs only; "
            "use one process (--devices 1), or where they are a backbone's keep its statistics (backbone.freeze_batchnorm)"
        )
    convert_sync_batchnorm(model)  # timm's, because torch's own drops the activation of timm's BatchNormAct2d


def check_equal(model: nn.Module, *, epoch: int) -> None:
    """Compare the processes' weights, which the same sums of gradients should have kept equal.

    Raises:
        ValueError: If they have drifted apart.
    """
    if size() == 1:
        return
    sums = torch.stack([v.detach().double().sum() for v in model.state_dict().values() if v.is_floating_point()])
    everyone = _gather(sums[None], count=size())
    if not torch.allclose(everyone, everyone[:1].expand_as(everyone), rtol=1e-6, atol=1e-6):
        raise ValueError(
            f"after epoch {epoch} the {size()} processes of this training hold different weights; train with one (--devices 1), and report it as a fault"
        )
