"""The only training loop.

Everything random is keyed: the order of images on (seed, stage, round, epoch), augmentation on the image as well.
Dropout is keyed by seeding torch at each epoch's start. So a training that is stopped or killed, and restarted from
its resume file, ends with the weights of an uninterrupted one, whatever the number of loader processes. The device
type, the number of threads and the number of processes must be the same.

Several processes that share its batches change its result by rounding alone (`wsss/training/collectives.py`), apart
from dropout, which each process draws for its own rows.
"""

from __future__ import annotations

import math
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsss.runtime.console import log, progress, warn
from wsss.runtime.stopping import HelperContext, stop_signals
from wsss.settings.sections import ComputeSection, OptimiserSection, TrainingSection
from wsss.training import collectives, draws
from wsss.training.devices import pick_device
from wsss.training.loading import EpochOrder, TrainingImages, batches, loaders_named, start_loader
from wsss.training.modes import modes_restored, set_train_mode
from wsss.training.optimiser import Precision, make_optimiser
from wsss.training.resume import ResumeFile, State
from wsss.training.schedule import epochs_of, rate_factor

Losses = Callable[[Any, Mapping[str, Any]], dict[str, torch.Tensor]]


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
        losses: (outputs, batch) to named scalars; their sum is minimised. `batch["progress"]` is the share of the
            training done, in [0, 1).
        parameters: (pretrained, new) parameters; the new ones learn `head_lr_factor` times faster.
        settings: Epochs (more of them where they make fewer than min_steps steps), batch size, optimiser.
        freeze_batchnorm: Keep pretrained BatchNorm statistics.
        compute: Device, precision, threads, and loader processes of the whole training.
        resume: File from which a stopped or killed training goes on, if its digest equals `inputs`. Remove it with
            `finish` once the product is written.
        inputs: Digest of settings, code and inputs.

    Returns:
        The record: loss_curve (a mapping an epoch), final_loss, seconds, peak_memory_mb (of this process), device,
        processes, images, steps.

    Raises:
        ValueError: If the loss is not finite, there are no images, or several processes cannot share the batches.
        ArtefactError: If a training image or one of its planes cannot be used.
        InterruptedError: If a signal asked to stop; the training can go on from there.
        OSError: If a process that loads images was killed.
    """
    device = pick_device(compute)
    order = EpochOrder(images, batch_size=settings.batch_size, rows=collectives.own_rows)
    _check_batches(order)
    _place(model, device=device, freeze_batchnorm=freeze_batchnorm)
    optimiser = make_optimiser(parameters, settings=settings.optimiser)
    precision = Precision(compute.precision, device=device)
    pass_ = _Pass(
        model,
        device=device,
        optimiser=optimiser,
        precision=precision,
        losses=losses,
        order=order,
        settings=settings,
        freeze_batchnorm=freeze_batchnorm,
    )
    file = ResumeFile(resume, model=model, optimiser=optimiser, precision=precision, inputs=f"{inputs} {device.type}")
    with modes_restored(model), loaders_named(compute.workers):
        state = _train(pass_, _loader(order, compute=compute, device=device), file=file)
    _check_finite(model, settings=settings.optimiser)
    return _record(state, device=device, order=order)


def _place(model: nn.Module, *, device: torch.device, freeze_batchnorm: bool) -> None:
    """Put the network on its device, and let processes share the BatchNorm layers that learn."""
    model.to(device).to(memory_format=torch.channels_last)
    with modes_restored(model):
        set_train_mode(model, freeze_batchnorm=freeze_batchnorm)
        collectives.share_batchnorm(model, device=device)


def _record(state: State, *, device: torch.device, order: EpochOrder) -> dict[str, Any]:
    """What is written down of a finished training."""
    curve = state.curve
    _warn_if_diverged(curve, start=state.start)
    seconds, images = round(sum(e["seconds"] for e in curve), 2), len(order.images)
    log.info("%d epochs, %d images on %s in %.1f s, %d MB", len(curve), images, device, seconds, peak_memory_mb())
    return {
        "loss_curve": curve,
        "final_loss": curve[-1]["loss"],
        "seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
        "device": str(device),
        "processes": collectives.size(),
        "images": images,
        "steps": len(curve) * len(order),
    }


def _check_batches(order: EpochOrder) -> None:
    """Stop if there is nothing to train on, or a process would have no image."""
    if not len(order):
        raise ValueError("there are no training images")
    if order.batch_size < collectives.size():
        raise ValueError(
            f"a batch of {order.batch_size} images cannot be shared by {collectives.size()} processes; "
            "use fewer (--devices), or a larger batch_size"
        )
    if collectives.size() > 1:
        log.info("%d processes share each batch of %d images", collectives.size(), order.batch_size)


def _loader(order: EpochOrder, *, compute: ComputeSection, device: torch.device) -> torch.utils.data.DataLoader:
    """Make the loader of this process's images."""
    workers = -(-compute.workers // collectives.size())
    # elsewhere than on Linux, a signal to all processes ends the loaders, and costs the epoch
    context = HelperContext() if workers and sys.platform == "linux" else None
    order.images.processes = collectives.size()
    return torch.utils.data.DataLoader(
        order.images,
        batch_sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        worker_init_fn=start_loader,
        # the loader draws a seed when it starts, which must not move the stream that dropout draws from
        generator=torch.Generator(),
        multiprocessing_context=context,
    )


def _train(pass_: _Pass, loader: torch.utils.data.DataLoader, *, file: ResumeFile) -> State:
    """Train the remaining epochs and return the final state."""
    state, order = file.load(), pass_.order
    with stop_signals() as asked:
        while len(state.curve) < pass_.epochs:
            order.epoch, order.begin = len(state.curve), state.step
            if not (state.step and state.restore_draws(pass_.device)):
                torch.manual_seed(_dropout_key(order))
            number = pass_(loader, state, asked=asked)
            collectives.check_equal(pass_.model, epoch=len(state.curve))
            if collectives.first():
                file.save(state)
            if number and len(state.curve) < pass_.epochs:
                collectives.wait()  # else the others would end, and with them the one that writes
                within = f"in epoch {order.epoch + 1}, step {state.step} of {len(order)}"
                where = within if state.step else f"after epoch {order.epoch + 1}"
                name = signal.Signals(number).name
                raise InterruptedError(f"stopped by {name} {where}; start again to go on from there")
    return state


def _dropout_key(order: EpochOrder) -> int:
    """Seed of an epoch's dropout; each further process has its own."""
    images, further = order.images, [collectives.rank()] if collectives.rank() else []
    return draws.key(images.seed, images.stage, images.round, order.epoch, *further)


def _check_finite(model: nn.Module, *, settings: OptimiserSection) -> None:
    """Refuse weights that are not finite: the last step may make such, and no later loss shows it."""
    floats = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    if bad := [name for name, value in floats.items() if not bool(value.isfinite().all())]:
        raise ValueError(
            f"{len(bad)} tensors of the trained network hold NaN or infinity, e.g. {bad[0]}; "
            f"lower optimiser.lr (it began at {settings.lr:.2g}), or use compute.precision 32"
        )


DIVERGED = {"epoch": 10, "step": 100}
"""A training has diverged if its last loss is this many times that of the first epoch, or of the first step."""


def _warn_if_diverged(curve: Sequence[Mapping[str, float]], *, start: float) -> None:
    """Warn if the last epoch's loss is far above that of the first epoch, or of the first step.

    The first step counts too, because a training may diverge before the first epoch is over.
    """
    last = curve[-1]["loss"]
    for what, first in (("epoch", curve[0]["loss"]), ("step", start)):
        if first > 0 and last > DIVERGED[what] * first:
            warn(
                "the loss grew from %.4g in the first %s to %.4g in the last epoch: the training has diverged; "
                "lower optimiser.lr",
                first,
                what,
                last,
            )
            return


class _Pass:
    """One epoch: forward, losses, backward, step, with the learning rate of each step."""

    def __init__(
        self,
        model: nn.Module,
        *,
        device: torch.device,
        optimiser: torch.optim.Optimizer,
        precision: Precision,
        losses: Losses,
        order: EpochOrder,
        settings: TrainingSection,
        freeze_batchnorm: bool,
    ) -> None:
        self.model, self.device, self.optimiser, self.precision = model, device, optimiser, precision
        self.losses, self.order, self.settings, self.freeze_batchnorm = losses, order, settings, freeze_batchnorm
        self.rates = [group["lr"] for group in optimiser.param_groups]
        self.epochs = epochs_of(settings, steps=len(order))
        if self.epochs > settings.epochs:
            log.info(
                "%d epochs instead of %d: %d images make %d steps an epoch, and min_steps is %d",
                self.epochs,
                settings.epochs,
                len(order.images),
                len(order),
                settings.min_steps,
            )

    def __call__(self, loader: torch.utils.data.DataLoader, state: State, *, asked: Callable[[], int]) -> int:
        """Go on with the epoch after those of `state`, to its end or until a signal asks to stop.

        At its end the epoch's entry joins the curve: epoch (from 1), loss and each named loss (means over steps),
        seconds.

        Args:
            loader: Gives the rest of the epoch's batches.
            state: Changed in place.
            asked: Gives the number of a signal that came, or 0.

        Returns:
            The signal's number, or 0.
        """
        epoch, steps = len(state.curve), len(self.order)
        began, number = time.monotonic() - state.seconds, 0
        positions = self.order.whole()
        set_train_mode(self.model, freeze_batchnorm=self.freeze_batchnorm)
        what = f"epoch {epoch + 1}/{self.epochs}"
        loaded = progress(batches(loader), what=what, total=steps - state.step, unit="step")
        for k, batch in enumerate(loaded, state.step):
            done = epoch * steps + k
            self._set_rates(step=done, steps=self.epochs * steps, epoch=epoch)
            names = [self.order.images.rows[p].image_id for p in positions[k]]  # of the whole batch
            batch = {**batch, "image_id": names, "progress": done / (self.epochs * steps)}
            for name, value in self._step(batch, where=f"epoch {epoch + 1}, step {k + 1}").items():
                state.sums[name] = state.sums.get(name, 0.0) + value
            state.start = state.start or state.sums["loss"]
            state.step, state.seconds = k + 1, time.monotonic() - began
            if number := collectives.any_signal(asked(), device=self.device):
                break
        if state.step < steps:
            state.remember_draws(self.device)
        else:
            state.close_epoch(steps)
            named = (f"{k} {v:.4f}" for k, v in state.curve[-1].items() if k not in ("epoch", "seconds"))
            log.info("%s: %s", what, ", ".join(named))
        return number

    def _set_rates(self, *, step: int, steps: int, epoch: int) -> None:
        # milestones are written for `settings.epochs`, and stretch with a training that is longer
        milestone_epoch = epoch * self.settings.epochs // self.epochs
        factor = rate_factor(self.settings.optimiser, step=step, steps=steps, epoch=milestone_epoch)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def _step(self, batch: Mapping[str, Any], *, where: str) -> dict[str, float]:
        count = self.order.batch_size
        batch = {
            key: value.to(self.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for key, value in batch.items()
        }
        image_n = batch["image_n"].contiguous(memory_format=torch.channels_last)  # (N, 3, c, c)
        outputs = self.precision.forward(self.model, image_n)
        named = self.losses(collectives.whole(outputs, count=count), collectives.whole(batch, count=count))
        total = torch.stack(list(named.values())).sum()
        values = {name: float(loss.detach()) for name, loss in {"loss": total, **named}.items()}
        if not math.isfinite(values["loss"]):
            rate = self.optimiser.param_groups[0]["lr"]
            raise ValueError(
                f"the loss is {values['loss']} in {where} (learning rate {rate:.2g}); "
                "lower optimiser.lr, or use compute.precision 32"
            )
        self.optimiser.zero_grad()
        self.precision.scaled(total).backward()
        collectives.add_gradients(p for group in self.optimiser.param_groups for p in group["params"])
        self.precision.step(self.optimiser)
        return values


def peak_memory_mb() -> int:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
