"""What the processes of a shared training do, and what can go wrong in one; for tests/training/test_collectives.py."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from wsss.training import collectives
from wsss.training.loading import EpochOrder
from wsss.training.resume import State

from .interrupted_fit import losses, network, train_frozen, training_images

STEP = 3
"""Where things happen: in the second epoch of two steps each."""


def check_exchanges(*, index: Path) -> None:
    """Rows, gathering, sums, signals and draws, against what one process would do."""
    device, rank, count = torch.device("cpu"), collectives.rank(), 5
    assert collectives.size() == 2
    assert collectives.first() is (rank == 0)
    rows = collectives.own_rows(count)
    assert (rows.start, rows.stop) == ((0, 2), (2, 5))[rank]
    every = torch.arange(10.0).reshape(5, 2)
    own = every[rows].clone().requires_grad_()
    batch = {"maps": (own, own > 3), "mask": own.to(torch.uint8), "names": ["a", "b"], "progress": 0.5}
    whole = collectives.whole(batch, count=count)
    assert torch.equal(whole["maps"][0], every)
    assert torch.equal(whole["maps"][1], every > 3)
    assert torch.equal(whole["mask"], every.to(torch.uint8))
    assert (whole["names"], whole["progress"]) == (["a", "b"], 0.5)
    (whole["maps"][0] ** 2).sum().backward()
    assert torch.equal(own.grad, 2 * every[rows])
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(3, 2))]
    weights[0].grad, weights[2].grad = torch.full((2,), 1.0 + rank), torch.full((3, 2), 10.0 * rank)
    collectives.add_gradients(weights)
    assert weights[0].grad.tolist() == [3, 3]
    assert weights[1].grad is None
    assert weights[2].grad.unique().tolist() == [10]
    assert collectives.any_signal(15 * rank, device=device) == 15
    assert collectives.any_signal(0, device=device) == 0
    check_draws(device)
    check_order(index, rank)


def check_draws(device: torch.device) -> None:
    """Each process gets its own random state back; states of another number of processes are not used."""
    torch.manual_seed(collectives.rank())
    state = State()
    state.remember_draws(device)
    assert state.draws["cpu"].shape == (2, len(torch.get_rng_state()))
    expected = torch.rand(3)
    assert state.restore_draws(device)
    assert torch.equal(torch.rand(3), expected)
    assert not State(draws={"cpu": state.draws["cpu"][:1]}).restore_draws(device)


def check_order(index: Path, rank: int) -> None:
    """The processes' parts make up the batches of one process."""
    alone = EpochOrder(training_images(index), batch_size=5)
    shared = EpochOrder(training_images(index), batch_size=5, rows=collectives.own_rows)
    for epoch in range(3):
        alone.epoch = shared.epoch = epoch
        assert len(alone) == len(shared)
        for batch, part in zip(alone, shared, strict=True):
            assert part == batch[collectives.own_rows(5)]
            assert len(part) == 2 + rank


def _spoilt(happens):
    """A loss during whose STEP-th call something happens in the second process."""
    calls = []

    def spoilt(outputs, batch):
        calls.append(1)
        named = losses(outputs, batch)
        return happens(named) if len(calls) == STEP and not collectives.first() else named

    return spoilt


def _infinite(outputs, batch):
    """A loss that is infinite in the middle of the training."""
    return {"error": losses(outputs, batch)["error"] / (0 if batch["progress"] == 0.5 else 1)}


def train_with(*, what: str, folder: Path, index: Path) -> None:
    """A training in which `what` happens."""
    changed: dict = {}
    if what == "killed":
        changed["losses"] = _spoilt(lambda named: ((folder / "died").touch(), os.kill(os.getpid(), signal.SIGKILL)))
    elif what == "hangs":
        changed["losses"] = _spoilt(lambda named: time.sleep(600))
    elif what == "bug":
        changed["losses"] = _spoilt(lambda named: named["misspelt"])
    elif what == "infinite":
        changed["losses"] = _infinite
    elif what == "drifts":
        changed["model"] = model = network(batchnorm=False)
        changed["losses"] = _spoilt(lambda named: (model.head[0].bias.data.add_(0.01), named)[1])
    elif what == "damaged":
        changed["images"] = images = training_images(index)
        if not collectives.first():
            images.rows = [type(r)(**{**r.__dict__, "image": folder / "gone.png"}) for r in images.rows]
    elif what == "free":
        changed["freeze_batchnorm"] = False
    elif what == "small":
        changed["batch_size"] = 1
    train_frozen(folder=folder, index=index, epochs=4, **changed)


def check_refusals(*, folder: Path, index: Path) -> None:
    """Both processes find the same fault."""
    for what, words in {
        "infinite": r"^the loss is inf in epoch 3, step 1 \(learning rate .*lower optimiser.lr",
        "drifts": r"^after epoch 2 the 2 processes of this training hold different weights",
        "free": r"^1 BatchNorm layers \(e\.g\. backbone\.1\) .*on GPUs only; use one process",
        "small": r"^a batch of 1 images cannot be shared by 2 processes",
    }.items():
        with pytest.raises(ValueError, match=words):
            train_with(what=what, folder=folder / what, index=index)
        assert not (folder / what / "model.safetensors").exists()


def train_until_stopped(*, folder: Path, index: Path, epochs: int, stop: tuple[int, int] = (0, 0), to: int = 0) -> None:
    """A training of four steps an epoch in which process `to` gets a SIGTERM in (epoch, step), both from 1."""
    calls = []

    def stopping(outputs, batch):
        calls.append(1)
        if len(calls) == 4 * (stop[0] - 1) + stop[1] and collectives.rank() == to:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(outputs, batch)

    train_frozen(folder=folder, index=index, epochs=epochs, batch_size=2, losses=stopping)
