"""The only training loop, its resume files, and how networks are saved.

Everything random is keyed: the order of images on (seed, stage, round, epoch), augmentation on the image as well, dropout by seeding torch at each epoch's start. So a training killed
and restarted from its last epoch ends with the weights of an uninterrupted one (same device type and thread count), whatever the number of loader processes.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from wsss import draws
from wsss.artefacts import ArtefactError, atomic
from wsss.console import log, progress
from wsss.loading import EpochOrder, TrainingImages
from wsss.sections import ComputeSection, OptimiserSection, TrainingSection

FORMAT = 1
Losses = Callable[[Any, Mapping[str, Any]], dict[str, torch.Tensor]]


def pick_device(compute: ComputeSection) -> torch.device:
    """The device of a stage; sets torch's thread count, which changes the last bits of results.

    Raises:
        ValueError: If cuda is asked for and there is none.
    """
    torch.set_num_threads(compute.threads)
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("compute.device is 'cuda' but torch finds no CUDA GPU; use auto or cpu, or check the driver")
    if compute.device == "auto" and not torch.cuda.is_available():
        log.info("no GPU found: using the CPU")
    return torch.device("cuda" if compute.device != "cpu" and torch.cuda.is_available() else "cpu")


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
def evaluating(model: nn.Module) -> Any:
    """Evaluation mode without gradients; each module's own mode is restored afterwards."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield model
    finally:
        for module, mode in modes:
            module.training = mode


@dataclass(kw_only=True)
class _Progress:
    """What a resume file holds besides model and optimiser."""

    epoch: int
    curve: list[dict[str, float]]


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
        losses: (outputs, batch) to named scalars; their sum is minimised.
        parameters: (pretrained, new) parameters; the new ones learn `head_lr_factor` times faster.
        settings: Epochs, batch size, optimiser.
        freeze_batchnorm: Keep pretrained BatchNorm statistics.
        compute: Device, precision, threads, workers.
        resume: File of the last finished epoch; used if its digest equals `inputs`. Remove it with `finish` once the product is written.
        inputs: Digest of settings, code and inputs.

    Returns:
        The record: loss_curve (a mapping an epoch), final_loss, seconds, peak_memory_mb, device, images, steps.

    Raises:
        ValueError: If the loss is not finite.
    """
    device = pick_device(compute)
    fabric = Fabric(accelerator="cuda" if device.type == "cuda" else "cpu", devices=1, precision=compute.precision)
    model.to(device=device, memory_format=torch.channels_last)
    optimiser = make_optimiser(parameters, settings=settings.optimiser)
    wrapped, wrapped_optimiser = fabric.setup(model, optimiser)
    rates = [group["lr"] for group in optimiser.param_groups]
    order = EpochOrder(images, batch_size=settings.batch_size)
    steps = settings.epochs * len(order)
    state = _load(resume, model=model, optimiser=optimiser, inputs=inputs, device=device)
    loader = torch.utils.data.DataLoader(images, batch_sampler=order, num_workers=compute.workers, persistent_workers=compute.workers > 0, pin_memory=device.type == "cuda")
    began = time.monotonic()
    for epoch in range(state.epoch, settings.epochs):
        torch.manual_seed(draws.key(images.seed, images.stage, images.round, epoch))
        order.epoch = epoch
        set_train_mode(model, freeze_batchnorm=freeze_batchnorm)
        sums: dict[str, float] = {}
        started = time.monotonic()
        for k, batch in enumerate(progress(loader, what=f"epoch {epoch + 1}/{settings.epochs}", total=len(order), unit="step")):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * rate_factor(settings.optimiser, step=epoch * len(order) + k, steps=steps, epoch=epoch)
            batch = {key: v.to(device, non_blocking=True) if isinstance(v, torch.Tensor) else v for key, v in batch.items()}
            named = losses(wrapped(batch["image_n"].contiguous(memory_format=torch.channels_last)), batch)
            total = torch.stack(list(named.values())).sum()
            _refuse_non_finite(total, epoch=epoch, step=k, lr=optimiser.param_groups[0]["lr"])
            wrapped_optimiser.zero_grad()
            fabric.backward(total)
            wrapped_optimiser.step()
            for name, loss in {"loss": total, **named}.items():
                sums[name] = sums.get(name, 0.0) + float(loss.detach())
        entry = {"epoch": epoch + 1, **{name: value / len(order) for name, value in sums.items()}, "seconds": round(time.monotonic() - started, 2)}
        state.curve.append(entry)
        log.info("epoch %d/%d: %s", epoch + 1, settings.epochs, ", ".join(f"{k} {v:.4f}" for k, v in entry.items() if k not in ("epoch", "seconds")))
        _save(resume, model=model, optimiser=optimiser, inputs=inputs, state=_Progress(epoch=epoch + 1, curve=state.curve))
    seconds = sum(e["seconds"] for e in state.curve)
    log.info("%d epochs on %s in %.1f s (%.1f s in this process)", settings.epochs, device, seconds, time.monotonic() - began)
    return {
        "loss_curve": state.curve, "final_loss": state.curve[-1]["loss"], "seconds": round(seconds, 2), "peak_memory_mb": peak_memory_mb(), "device": str(device),
        "images": len(images.rows), "steps": steps,
    }  # fmt: skip


def peak_memory_mb() -> int:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def finish(resume: Path) -> None:
    """Remove a resume file (and its folder when empty): the product is written."""
    resume.unlink(missing_ok=True)
    if resume.parent.is_dir() and not any(resume.parent.iterdir()):
        resume.parent.rmdir()


def _refuse_non_finite(loss: torch.Tensor, *, epoch: int, step: int, lr: float) -> None:
    if not math.isfinite(float(loss.detach())):
        raise ValueError(f"the loss is {float(loss.detach())} in epoch {epoch + 1}, step {step + 1} (learning rate {lr:.2g}); lower optimiser.lr or use precision 32")


def _save(path: Path, *, model: nn.Module, optimiser: torch.optim.Optimizer, inputs: str, state: _Progress) -> None:
    with atomic(path) as temporary:
        torch.save({"inputs": inputs, "epoch": state.epoch, "curve": state.curve, "model": model.state_dict(), "optimiser": optimiser.state_dict()}, temporary)


def _load(path: Path, *, model: nn.Module, optimiser: torch.optim.Optimizer, inputs: str, device: torch.device) -> _Progress:
    if not path.exists():
        return _Progress(epoch=0, curve=[])
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        log.warning("resume file %s cannot be read (%s): starting anew", path, error)
        return _Progress(epoch=0, curve=[])
    if saved["inputs"] != inputs:
        log.info("resume file %s belongs to other settings, code or inputs: starting anew", path)
        return _Progress(epoch=0, curve=[])
    model.load_state_dict(saved["model"])
    optimiser.load_state_dict(saved["optimiser"])
    log.info("resuming after epoch %d", saved["epoch"])
    return _Progress(epoch=saved["epoch"], curve=saved["curve"])


def save_network(path: Path, *, state: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
    """Write a network, whole or not at all.

    Args:
        path: The .pt file.
        state: State dict; moved to the CPU.
        meta: Plain values: what is needed to build and use the network.
    """
    with atomic(path) as temporary:
        torch.save({"format": FORMAT, "meta": dict(meta), "state": {k: v.detach().cpu() for k, v in state.items()}}, temporary)


def load_network(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(state dict, meta) of a file that `save_network` wrote; nothing in it is executed.

    Raises:
        ArtefactError: If the file is missing, damaged or of another format.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["format"] != FORMAT:
            raise ArtefactError(f"{path}: format {saved['format']}, expected {FORMAT}; train it again")
        return saved["state"], saved["meta"]
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such network; run the workflow up to the stage that trains it") from None
    except ArtefactError:
        raise
    except Exception as error:
        raise ArtefactError(f"{path}: not a network of this package, or damaged ({type(error).__name__}); delete it and rerun") from None
