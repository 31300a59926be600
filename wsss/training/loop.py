"""The only training loop.

Everything random is keyed: the order of images on (seed, stage, round, epoch), augmentation on the image as well, dropout by seeding torch at each epoch's start. So a training stopped
or killed, and restarted from its resume file, ends with the weights of an uninterrupted one (same device type, thread count and processes), whatever the number of loader processes.
Several processes that share its batches (`wsss/training/collectives.py`) change its result by rounding alone.
"""

from __future__ import annotations

import ctypes
import math
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import nn

from wsss.runtime.console import log, progress, warn
from wsss.runtime.stopping import HelperContext, stop_signals
from wsss.settings.sections import ComputeSection, OptimiserSection, TrainingSection
from wsss.training import collectives, draws
from wsss.training.loading import EpochOrder, TrainingImages, batches, loaders_named, start_loader
from wsss.training.resume import ResumeFile, State

Losses = Callable[[Any, Mapping[str, Any]], dict[str, torch.Tensor]]


def pick_device(compute: ComputeSection) -> torch.device:
    """The device of a stage; sets torch's thread count, which changes the last bits of results, and keeps freed memory.

    Raises:
        ValueError: If cuda is asked for and there is none.
    """
    torch.set_num_threads(compute.threads)
    _keep_freed_memory()
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("compute.device is 'cuda' but torch finds no CUDA GPU; use auto or cpu, or check the driver")
    if compute.device == "auto" and not torch.cuda.is_available():
        log.info("no GPU found: using the CPU")
    cuda = compute.device != "cpu" and torch.cuda.is_available()
    if cuda:  # else cuDNN picks convolutions by timing them, and sums in any order
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    if cuda and collectives.size() > 1:
        return torch.device("cuda", collectives.rank())
    return torch.device("cuda" if cuda else "cpu")


def _keep_freed_memory() -> None:
    """Tell glibc not to give every large buffer back to the system: a training on a CPU asks for the same ones each step, and clearing new pages costs a sixth of its time."""
    trim_threshold, mmap_max = -1, -4  # malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)


def make_optimiser(
    parameters: tuple[list[nn.Parameter], list[nn.Parameter]], *, settings: OptimiserSection
) -> torch.optim.Optimizer:
    """The optimiser over (pretrained, new) parameters; every hyper-parameter by keyword."""
    groups = [
        {"params": list(group), "lr": settings.lr * factor}
        for group, factor in zip(parameters, (1.0, settings.head_lr_factor), strict=True)
        if group
    ]
    if settings.kind == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)


def rate_factor(settings: OptimiserSection, *, step: int, steps: int, epoch: int) -> float:
    """Learning rate over its start: (1 - step/steps)^power, or gamma to the number of milestones passed (epoch counts from 0)."""
    if settings.schedule == "poly":
        return (1 - step / steps) ** settings.power
    return settings.gamma ** sum(epoch >= m for m in settings.milestones)


def set_train_mode(model: nn.Module, *, freeze_batchnorm: bool) -> None:
    """Training mode; with `freeze_batchnorm` the pretrained BatchNorm layers (those a backbone holds) keep their statistics."""
    model.train()
    if freeze_batchnorm:
        for module in getattr(model, "backbone", model).modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


@contextmanager
def _modes_restored(model: nn.Module) -> Iterator[None]:
    modes = [(m, m.training) for m in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode without gradients; each module's own mode is restored afterwards."""
    with _modes_restored(model), torch.inference_mode():
        yield model.eval()


def fit(
    model: nn.Module,
    images: TrainingImages,
    *,
    losses: Losses,
    parameters: tuple[list[nn.Parameter], list[nn.Parameter]],
    settings: TrainingSection,
    freeze_batchnorm: bool,
    compute: ComputeSection,
    resume: Path,
    inputs: str,
) -> dict[str, Any]:
    """Train `model` in place.

    Args:
        model: Network; `model(image_n (N, 3, c, c))` gives what `losses` takes.
        images: Training images; an item is a mapping with image_n and labels.
        losses: (outputs, batch) to named scalars; their sum is minimised. `batch["progress"]` is the share of the training done, in [0, 1).
        parameters: (pretrained, new) parameters; the new ones learn `head_lr_factor` times faster.
        settings: Epochs (more of them where they make fewer than min_steps steps), batch size, optimiser.
        freeze_batchnorm: Keep pretrained BatchNorm statistics.
        compute: Device, precision, threads, workers (of all processes of the training together, at least one each).
        resume: File that a stopped or killed training goes on from; used if its digest equals `inputs`. Remove it with `finish` once the product is written.
        inputs: Digest of settings, code and inputs.

    Returns:
        The record: loss_curve (a mapping an epoch), final_loss, seconds, peak_memory_mb (of this process), device, processes, images, steps.

    Raises:
        ValueError: If the loss is not finite, there are no images, or several processes cannot share the batches.
        ArtefactError: If a training image or one of its planes cannot be used.
        InterruptedError: If a signal asked to stop; the training can go on from there.
        OSError: If a process that loads images was killed.
    """
    device = pick_device(compute)
    order = EpochOrder(images, batch_size=settings.batch_size, rows=collectives.own_rows)
    _check_batches(order)
    # an environment of its own: within a SLURM job Fabric would otherwise read ranks from SLURM's variables
    devices = 1 if device.index is None else [device.index]
    fabric = Fabric(
        accelerator=device.type, devices=devices, precision=compute.precision, plugins=[LightningEnvironment()]
    )
    model.to(device).to(memory_format=torch.channels_last)
    with _modes_restored(model):
        set_train_mode(model, freeze_batchnorm=freeze_batchnorm)
        collectives.share_batchnorm(model, device=device)
    optimiser = make_optimiser(parameters, settings=settings.optimiser)
    epochs = _epochs(settings, order=order)
    pass_ = _Pass(
        fabric,
        model=model,
        optimiser=optimiser,
        losses=losses,
        order=order,
        settings=settings,
        epochs=epochs,
        freeze_batchnorm=freeze_batchnorm,
    )
    file = ResumeFile(resume, model=model, optimiser=optimiser, fabric=fabric, inputs=f"{inputs} {device.type}")
    with _modes_restored(model), loaders_named(compute.workers):
        state = _train(pass_, _loader(order, compute=compute, device=device), file=file, epochs=epochs)
    curve = state.curve
    _check_finite(model, settings=settings.optimiser)
    _warn_if_diverged(curve, start=state.start)
    seconds = round(sum(e["seconds"] for e in curve), 2)
    log.info("%d epochs, %d images on %s in %.1f s, %d MB", epochs, len(images), device, seconds, peak_memory_mb())
    return {
        "loss_curve": curve, "final_loss": curve[-1]["loss"], "seconds": seconds, "peak_memory_mb": peak_memory_mb(), "device": str(device),
        "processes": collectives.size(), "images": len(images), "steps": epochs * len(order),
    }  # fmt: skip


def _check_batches(order: EpochOrder) -> None:
    """Stop if there is nothing to train on, or a process would have no image."""
    if not len(order):
        raise ValueError("there are no training images")
    if order.batch_size < collectives.size():
        raise ValueError(
            f"a batch of {order.batch_size} images cannot be shared by {collectives.size()} processes; use fewer (--devices), or a larger batch_size"
        )
    if collectives.size() > 1:
        log.info("%d processes share each batch of %d images", collectives.size(), order.batch_size)


def _epochs(settings: TrainingSection, *, order: EpochOrder) -> int:
    """Epochs of this training; says so where they are more than asked for."""
    epochs = settings.passes(len(order))
    if epochs > settings.epochs:
        log.info(
            "%d epochs instead of %d: %d images make %d steps an epoch, and min_steps is %d",
            epochs,
            settings.epochs,
            len(order.images),
            len(order),
            settings.min_steps,
        )
    return epochs


def _loader(order: EpochOrder, *, compute: ComputeSection, device: torch.device) -> torch.utils.data.DataLoader:
    """The loader of this process's images."""
    workers = -(-compute.workers // collectives.size())
    context = (
        HelperContext() if workers and sys.platform == "linux" else None
    )  # elsewhere a signal to all processes ends the loaders, and costs the epoch
    order.images.processes = collectives.size()
    # a generator of its own: the loader draws a seed whenever it starts, which must not move the stream that dropout draws from
    return torch.utils.data.DataLoader(
        order.images, batch_sampler=order, num_workers=workers, persistent_workers=workers > 0, pin_memory=device.type == "cuda",
        worker_init_fn=start_loader, generator=torch.Generator(), multiprocessing_context=context,
    )  # fmt: skip


def _train(pass_: _Pass, loader: torch.utils.data.DataLoader, *, file: ResumeFile, epochs: int) -> State:
    """How far it is after the epochs that were still to do: at its end."""
    state, order, device = file.load(), pass_.order, pass_.fabric.device
    with stop_signals() as asked:
        while len(state.curve) < epochs:
            order.epoch, order.begin = len(state.curve), state.step
            if state.step:
                state.restore_draws(device)
            else:
                torch.manual_seed(draws.key(order.images.seed, order.images.stage, order.images.round, order.epoch))
            number = pass_(loader, state, asked=asked)
            collectives.check_equal(pass_.network, epoch=len(state.curve))
            if collectives.first():
                file.save(state)
            if number and len(state.curve) < epochs:
                collectives.wait()  # else the others would end, and with them the one that writes
                where = (
                    f"in epoch {order.epoch + 1}, step {state.step} of {len(order)}"
                    if state.step
                    else f"after epoch {order.epoch + 1}"
                )
                raise InterruptedError(
                    f"stopped by {signal.Signals(number).name} {where}; start again to go on from there"
                )
    return state


def _check_finite(model: nn.Module, *, settings: OptimiserSection) -> None:
    """Stop if the last step, whose loss nobody computes any more, has left weights that are no numbers."""
    if bad := [
        name
        for name, value in model.state_dict().items()
        if value.is_floating_point() and not bool(value.isfinite().all())
    ]:
        raise ValueError(
            f"{len(bad)} tensors of the trained network hold NaN or infinity, e.g. {bad[0]}; lower optimiser.lr (it began at {settings.lr:.2g}), or use compute.precision 32"
        )


DIVERGED = {"epoch": 10, "step": 100}
"""Times the loss of the first epoch, or of the first step, from which a training has gone astray, though its numbers are finite."""


def _warn_if_diverged(curve: Sequence[Mapping[str, float]], *, start: float) -> None:
    """Say loudly that the last epoch's loss is far above the first one's, or above that of the first step: it may have gone astray before the first epoch was over."""
    last = curve[-1]["loss"]
    for what, first in (("epoch", curve[0]["loss"]), ("step", start)):
        if first > 0 and last > DIVERGED[what] * first:
            warn(
                "the loss grew from %.4g in the first %s to %.4g in the last epoch: the training has diverged; lower optimiser.lr",
                first,
                what,
                last,
            )
            return


class _Pass:
    """One epoch: forward, losses, backward, step, with the learning rate of each step."""

    def __init__(
        self,
        fabric: Fabric,
        *,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        losses: Losses,
        order: EpochOrder,
        settings: TrainingSection,
        epochs: int,
        freeze_batchnorm: bool,
    ) -> None:
        self.fabric, self.network, self.losses, self.settings, self.epochs, self.freeze_batchnorm = (
            fabric,
            model,
            losses,
            settings,
            epochs,
            freeze_batchnorm,
        )
        self.order = order
        self.rates = [group["lr"] for group in optimiser.param_groups]
        self.model, self.optimiser = fabric.setup(model, optimiser)

    def __call__(self, loader: torch.utils.data.DataLoader, state: State, *, asked: Callable[[], int]) -> int:
        """Go on with the epoch after those of `state`, to its end or until a signal asks to stop; gives the signal's number, or 0.

        At the end the epoch's entry joins the curve: epoch (from 1), loss, each named loss (means over steps), seconds.
        """
        epoch, epochs, steps = len(state.curve), self.epochs, len(self.order)
        began, number = time.monotonic() - state.seconds, 0
        positions = self.order.whole()
        set_train_mode(self.network, freeze_batchnorm=self.freeze_batchnorm)
        loaded = progress(batches(loader), what=f"epoch {epoch + 1}/{epochs}", total=steps - state.step, unit="step")
        for k, batch in enumerate(loaded, state.step):
            self._set_rates(step=epoch * steps + k, steps=epochs * steps, epoch=epoch)
            batch = {
                **batch,
                "image_id": [self.order.images.rows[p].image_id for p in positions[k]],
                "progress": (epoch * steps + k) / (epochs * steps),
            }
            for name, value in self._step(batch, where=f"epoch {epoch + 1}, step {k + 1}").items():
                state.sums[name] = state.sums.get(name, 0.0) + value
            state.start = state.start or state.sums["loss"]
            state.step, state.seconds = k + 1, time.monotonic() - began
            if number := collectives.any_signal(asked(), device=self.fabric.device):
                break
        if state.step < steps:
            state.remember_draws(self.fabric.device)
            return number
        entry = {
            "epoch": epoch + 1,
            **{name: value / steps for name, value in state.sums.items()},
            "seconds": round(state.seconds, 2),
        }
        log.info(
            "epoch %d/%d: %s",
            epoch + 1,
            epochs,
            ", ".join(f"{k} {v:.4f}" for k, v in entry.items() if k not in ("epoch", "seconds")),
        )
        state.curve.append(entry)
        state.step, state.sums, state.seconds, state.draws = 0, {}, 0.0, {}
        return number

    def _set_rates(self, *, step: int, steps: int, epoch: int) -> None:
        milestone_epoch = (
            epoch * self.settings.epochs // self.epochs
        )  # milestones are written for `epochs`, and stretch with a training that is longer
        factor = rate_factor(self.settings.optimiser, step=step, steps=steps, epoch=milestone_epoch)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def _step(self, batch: Mapping[str, Any], *, where: str) -> dict[str, float]:
        count = self.order.batch_size
        batch = {
            key: v.to(self.fabric.device, non_blocking=True) if isinstance(v, torch.Tensor) else v
            for key, v in batch.items()
        }
        with collectives.whole_batch_dropout(count):
            outputs = self.model(batch["image_n"].contiguous(memory_format=torch.channels_last))
        named = self.losses(collectives.whole(outputs, count=count), collectives.whole(batch, count=count))
        total = torch.stack(list(named.values())).sum()
        values = {name: float(loss.detach()) for name, loss in {"loss": total, **named}.items()}
        if not math.isfinite(values["loss"]):
            rate = self.optimiser.param_groups[0]["lr"]
            raise ValueError(
                f"the loss is {values['loss']} in {where} (learning rate {rate:.2g}); lower optimiser.lr, or use compute.precision 32"
            )
        self.optimiser.zero_grad()
        self.fabric.backward(total)
        collectives.add_gradients(p for group in self.optimiser.param_groups for p in group["params"])
        self.optimiser.step()
        return values


def peak_memory_mb() -> int:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
