"""The only training loop and its resume files.

Everything random is keyed: the order of images on (seed, stage, round, epoch), augmentation on the image as well, dropout by seeding torch at each epoch's start. So a training killed
and restarted from its last epoch ends with the weights of an uninterrupted one (same device type and thread count), whatever the number of loader processes.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from wsss import draws
from wsss.artefacts import ArtefactError, atomic
from wsss.console import log, progress, warn
from wsss.loading import EpochOrder, TrainingImages, start_loader
from wsss.networks import read_archive
from wsss.sections import ComputeSection, OptimiserSection, TrainingSection

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


def make_optimiser(parameters: tuple[list[nn.Parameter], list[nn.Parameter]], *, settings: OptimiserSection) -> torch.optim.Optimizer:
    """The optimiser over (pretrained, new) parameters; every hyper-parameter by keyword."""
    groups = [{"params": list(group), "lr": settings.lr * factor} for group, factor in zip(parameters, (1.0, settings.head_lr_factor), strict=True) if group]
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
        compute: Device, precision, threads, workers.
        resume: File of the last finished epoch; used if its digest equals `inputs`. Remove it with `finish` once the product is written.
        inputs: Digest of settings, code and inputs.

    Returns:
        The record: loss_curve (a mapping an epoch), final_loss, seconds, peak_memory_mb, device, images, steps.

    Raises:
        ValueError: If the loss is not finite, or there are no images.
        ArtefactError: If a training image or one of its planes cannot be used.
    """
    device = pick_device(compute)
    order = EpochOrder(images, batch_size=settings.batch_size)
    if not len(order):
        raise ValueError("there are no training images")
    fabric = Fabric(accelerator="cuda" if device.type == "cuda" else "cpu", devices=1, precision=compute.precision)
    model.to(device).to(memory_format=torch.channels_last)
    optimiser = make_optimiser(parameters, settings=settings.optimiser)
    epochs = settings.passes(len(order))
    if epochs > settings.epochs:
        log.info(
            "%d epochs instead of %d: %d images make %d steps an epoch, and min_steps is %d",
            epochs,
            settings.epochs,
            len(images),
            len(order),
            settings.min_steps,
        )
    pass_ = _Pass(fabric, model=model, optimiser=optimiser, losses=losses, settings=settings, epochs=epochs, freeze_batchnorm=freeze_batchnorm)
    inputs = f"{inputs} {device.type}"
    curve = _load(resume, model=model, optimiser=optimiser, fabric=fabric, inputs=inputs)
    # a generator of its own: the loader draws a seed whenever it starts, which must not move the stream that dropout draws from
    loader = torch.utils.data.DataLoader(
        images, batch_sampler=order, num_workers=compute.workers, persistent_workers=compute.workers > 0, pin_memory=device.type == "cuda",
        worker_init_fn=start_loader, generator=torch.Generator(),
    )  # fmt: skip
    with _modes_restored(model):
        for epoch in range(len(curve), epochs):
            torch.manual_seed(draws.key(images.seed, images.stage, images.round, epoch))
            order.epoch = epoch
            curve.append(pass_(loader, epoch=epoch))
            _save(resume, model=model, optimiser=optimiser, fabric=fabric, inputs=inputs, curve=curve)
    _warn_if_diverged(curve)
    seconds = round(sum(e["seconds"] for e in curve), 2)
    log.info("%d epochs, %d images on %s in %.1f s, %d MB", epochs, len(images), device, seconds, peak_memory_mb())
    return {
        "loss_curve": curve, "final_loss": curve[-1]["loss"], "seconds": seconds, "peak_memory_mb": peak_memory_mb(), "device": str(device),
        "images": len(images), "steps": epochs * len(order),
    }  # fmt: skip


DIVERGED = 10
"""Times the first epoch's loss from which a training has gone astray, though its numbers are finite."""


def _warn_if_diverged(curve: Sequence[Mapping[str, float]]) -> None:
    """Say loudly that the last epoch's loss is far above the first one's."""
    first, last = curve[0]["loss"], curve[-1]["loss"]
    if first > 0 and last > DIVERGED * first:
        warn("the loss grew from %.4g in the first epoch to %.4g in the last: the training has diverged; lower optimiser.lr", first, last)


class _Pass:
    """One epoch: forward, losses, backward, step, with the learning rate of each step."""

    def __init__(
        self,
        fabric: Fabric,
        *,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        losses: Losses,
        settings: TrainingSection,
        epochs: int,
        freeze_batchnorm: bool,
    ) -> None:
        self.fabric, self.network, self.losses, self.settings, self.epochs, self.freeze_batchnorm = fabric, model, losses, settings, epochs, freeze_batchnorm
        self.rates = [group["lr"] for group in optimiser.param_groups]
        self.model, self.optimiser = fabric.setup(model, optimiser)

    def __call__(self, loader: torch.utils.data.DataLoader, *, epoch: int) -> dict[str, float]:
        """The entry of the loss curve: epoch (from 1), loss, each named loss (means over steps), seconds."""
        epochs, steps, began = self.epochs, len(loader), time.monotonic()
        milestone_epoch = epoch * self.settings.epochs // epochs  # milestones are written for `epochs`, and stretch with a training that is longer
        set_train_mode(self.network, freeze_batchnorm=self.freeze_batchnorm)
        sums: dict[str, float] = {}
        for k, batch in enumerate(progress(_batches(loader), what=f"epoch {epoch + 1}/{epochs}", total=steps, unit="step")):
            factor = rate_factor(self.settings.optimiser, step=epoch * steps + k, steps=epochs * steps, epoch=milestone_epoch)
            for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
            batch = {**batch, "progress": (epoch * steps + k) / (epochs * steps)}
            for name, value in self._step(batch, where=f"epoch {epoch + 1}, step {k + 1}").items():
                sums[name] = sums.get(name, 0.0) + value
        entry = {"epoch": epoch + 1, **{name: value / steps for name, value in sums.items()}, "seconds": round(time.monotonic() - began, 2)}
        log.info("epoch %d/%d: %s", epoch + 1, epochs, ", ".join(f"{k} {v:.4f}" for k, v in entry.items() if k not in ("epoch", "seconds")))
        return entry

    def _step(self, batch: Mapping[str, Any], *, where: str) -> dict[str, float]:
        batch = {key: v.to(self.fabric.device, non_blocking=True) if isinstance(v, torch.Tensor) else v for key, v in batch.items()}
        named = self.losses(self.model(batch["image_n"].contiguous(memory_format=torch.channels_last)), batch)
        total = torch.stack(list(named.values())).sum()
        values = {name: float(loss.detach()) for name, loss in {"loss": total, **named}.items()}
        if not math.isfinite(values["loss"]):
            rate = self.optimiser.param_groups[0]["lr"]
            raise ValueError(f"the loss is {values['loss']} in {where} (learning rate {rate:.2g}); lower optimiser.lr, or use compute.precision 32")
        self.optimiser.zero_grad()
        self.fabric.backward(total)
        self.optimiser.step()
        return values


def _batches(loader: torch.utils.data.DataLoader) -> Iterator[Mapping[str, Any]]:
    """The batches; a bad input met by a loader process is told as in this one, without that process's traceback."""
    try:
        yield from loader
    except ArtefactError as error:
        raise ArtefactError(str(error).rpartition("ArtefactError: ")[2].strip()) from None


def peak_memory_mb() -> int:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def digest(*parts: str | Path) -> str:
    """Digest of texts and of files' contents: what a resume file belongs to."""
    out = hashlib.blake2b(digest_size=16)
    for part in parts:
        out.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        out.update(b"\0")
    return out.hexdigest()


def finish(resume: Path) -> None:
    """Remove a resume file, what killed writers left of it, and its folder when empty: the product is written."""
    resume.unlink(missing_ok=True)
    for left in resume.parent.glob(f".{resume.name}.tmp-*"):
        left.unlink()
    if resume.parent.is_dir() and not any(resume.parent.iterdir()):
        resume.parent.rmdir()


def _save(path: Path, *, model: nn.Module, optimiser: torch.optim.Optimizer, fabric: Fabric, inputs: str, curve: list[dict[str, float]]) -> None:
    with atomic(path) as temporary:
        scaler = fabric.strategy.precision.state_dict()  # the loss scale of 16-mixed
        torch.save({"inputs": inputs, "curve": curve, "model": model.state_dict(), "optimiser": optimiser.state_dict(), "scaler": scaler}, temporary)


def _load(path: Path, *, model: nn.Module, optimiser: torch.optim.Optimizer, fabric: Fabric, inputs: str) -> list[dict[str, float]]:
    """Restore model and optimiser; the curve of the finished epochs, or [] if there is nothing to go on from."""
    if not path.exists():
        return []
    try:
        saved = read_archive(path, device=fabric.device)
        known, curve = saved["inputs"], list(saved["curve"])
        parts = saved["model"], saved["optimiser"], saved["scaler"]
    except Exception as error:  # torch raises what it likes on a damaged file
        warn("resume file %s cannot be read (%s): starting anew", path, type(error).__name__)
        return []
    if known != inputs:
        log.info("resume file %s belongs to other settings, code, inputs or another device: starting anew", path)
        return []
    model.load_state_dict(parts[0])
    optimiser.load_state_dict(parts[1])
    fabric.strategy.precision.load_state_dict(parts[2])
    log.info("resuming after epoch %d", len(curve))
    return curve
