"""Resume files: how far a training is, its network and optimiser, so that a restarted one ends with the weights of an uninterrupted one."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from wsss.files.temporaries import remove_leftovers
from wsss.nets.checkpoints import read_archive, write_archive
from wsss.runtime.console import log, warn
from wsss.runtime.out_of_memory import is_out_of_memory
from wsss.runtime.workflow_process import in_workflow


@dataclass
class State:
    """How far a training is.

    Attributes:
        curve: The entry of each finished epoch.
        start: Loss of the very first step.
        step: Steps done of the epoch after them.
        sums: Each named loss, summed over these steps.
        seconds: Spent on them.
        draws: torch's random states after them, by device type; empty between epochs, which seed anew.
    """

    curve: list[dict[str, float]] = field(default_factory=list)
    start: float = 0.0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    draws: dict[str, torch.Tensor] = field(default_factory=dict)

    def remember_draws(self, device: torch.device) -> None:
        """Note torch's random states."""
        self.draws = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            self.draws["cuda"] = torch.cuda.get_rng_state(device)

    def restore_draws(self, device: torch.device) -> None:
        """Set torch's random states to those noted."""
        torch.set_rng_state(self.draws["cpu"].cpu())
        if device.type == "cuda":
            torch.cuda.set_rng_state(self.draws["cuda"].cpu(), device)


class ResumeFile:
    """The resume file of one training."""

    def __init__(
        self, path: Path, *, model: nn.Module, optimiser: torch.optim.Optimizer, fabric: Fabric, inputs: str
    ) -> None:
        """Nothing is read yet.

        Args:
            path: The file.
            model: The network.
            optimiser: Its optimiser.
            fabric: Holds the device and, for 16-mixed, the loss scale.
            inputs: Digest of what the training is made of; a file of another digest is not gone on with.
        """
        self.path, self.model, self.optimiser, self.fabric, self.inputs = path, model, optimiser, fabric, inputs

    def save(self, state: State) -> None:
        """Write it, whole or not at all."""
        parts = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
        }
        write_archive(self.path, {"inputs": self.inputs, "state": asdict(state), **parts})

    def load(self) -> State:
        """Restore model and optimiser; how far they are, or a state of nothing done if there is nothing to go on from."""
        if not self.path.exists():
            return State()
        try:
            saved = read_archive(self.path, device=self.fabric.device)
            if saved["inputs"] != self.inputs:
                log.info(
                    "resume file %s belongs to other settings, code, inputs or another device: starting anew", self.path
                )
                return State()
            state, parts = State(**saved["state"]), (saved["model"], saved["optimiser"], saved["scaler"])
        except Exception as error:  # torch raises what it likes on a damaged file
            if is_out_of_memory(error):
                raise
            warn("resume file %s cannot be read (%s): starting anew", self.path, type(error).__name__)
            return State()
        self.model.load_state_dict(parts[0])
        self.optimiser.load_state_dict(parts[1])
        self.fabric.strategy.precision.load_state_dict(parts[2])
        log.info("resuming after epoch %d%s", len(state.curve), f" and {state.step} steps" if state.step else "")
        return state


def digest(*parts: str | Path) -> str:
    """Digest of texts and of files' contents: what a resume file belongs to."""
    out = hashlib.blake2b(digest_size=16)
    for part in parts:
        out.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        out.update(b"\0")
    return out.hexdigest()


def resume_of(network: Path) -> Path:
    """Where the resume file of a training lies, by its product."""
    return network.parent / ".resume" / network.name


def keep_or_finish(resume: Path) -> None:
    """Called when the product is written: by hand the resume file goes. Within a workflow it stays, until a stage that reads the product takes it away.

    Snakemake removes the outputs of a job that is killed at its very end, after everything is written; the training is then over at once, not begun anew.
    """
    if not in_workflow():
        finish(resume)


def finish(resume: Path) -> None:
    """Remove a resume file, what killed writers left of it, and its folder when empty."""
    resume.unlink(missing_ok=True)
    remove_leftovers(resume.parent)
    with suppress(OSError):  # there are others, or it is gone
        resume.parent.rmdir()
