"""Resume files: how far a training is, its network and optimiser.

A training that is started again goes on from its resume file, and ends with the weights of an uninterrupted one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsss.files.temporaries import remove_leftovers
from wsss.nets.checkpoints import read_tensors, write_tensors
from wsss.runtime.console import log, warn
from wsss.runtime.out_of_memory import is_out_of_memory
from wsss.runtime.workflow_process import in_workflow
from wsss.training import collectives
from wsss.training.optimiser import Precision


@dataclass
class State:
    """How far a training is.

    Attributes:
        curve: The entry of each finished epoch.
        start: Loss of the very first step.
        step: Steps done of the epoch after them.
        sums: Each named loss, summed over these steps.
        seconds: Spent on them.
        draws: torch's random states after them, by device type: (processes, bytes) uint8. Empty between epochs, which
            seed again.
    """

    curve: list[dict[str, float]] = field(default_factory=list)
    start: float = 0.0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    draws: dict[str, torch.Tensor] = field(default_factory=dict)

    def close_epoch(self, steps: int) -> None:
        """Put the epoch's entry on the curve: its number from 1, mean losses over its steps, seconds."""
        means = {name: value / steps for name, value in self.sums.items()}
        self.curve.append({"epoch": len(self.curve) + 1, **means, "seconds": round(self.seconds, 2)})
        self.step, self.sums, self.seconds, self.draws = 0, {}, 0.0, {}

    def remember_draws(self, device: torch.device) -> None:
        """Note torch's random states, those of every process."""
        own = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            own["cuda"] = torch.cuda.get_rng_state(device)
        self.draws = {
            kind: collectives.whole(state[None].to(device), count=collectives.size()).cpu()
            for kind, state in own.items()
        }

    def restore_draws(self, device: torch.device) -> bool:
        """Set torch's random states to those noted; False if these are of another number of processes."""
        if len(self.draws["cpu"]) != collectives.size():
            return False
        # cloned: torch crashes on a state that is a part of another tensor
        own = {kind: states[collectives.rank()].clone() for kind, states in self.draws.items()}
        torch.set_rng_state(own["cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"], device)
        return True


class ResumeFile:
    """The resume file of one training: a safetensors file whose description holds what is no tensor."""

    def __init__(
        self,
        path: Path,
        *,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        precision: Precision,
        inputs: str,
    ) -> None:
        """Remember where the parts are; nothing is read yet.

        Args:
            path: The file.
            model: The network.
            optimiser: Its optimiser.
            precision: Holds, for 16-mixed, the loss scale.
            inputs: Digest of what the training is made of. A file of another digest is ignored.
        """
        self.path, self.model, self.optimiser, self.precision, self.inputs = path, model, optimiser, precision, inputs

    def save(self, state: State) -> None:
        """Write it, whole or not at all."""
        progress = asdict(state)
        tensors, values = _split(self.optimiser.state_dict())
        tensors |= {f"draws.{kind}": states for kind, states in progress.pop("draws").items()}
        tensors |= {f"model.{name}": value for name, value in self.model.state_dict().items()}
        description = {"inputs": self.inputs, "state": progress, "optimiser": values}
        write_tensors(self.path, tensors, description=description | {"scaler": self.precision.state_dict()})

    def load(self) -> State:
        """Restore network, optimiser and loss scale.

        Returns:
            How far they are, or a state of nothing done if there is nothing to go on from.
        """
        if not self.path.exists():
            return State()
        try:
            tensors, saved = read_tensors(self.path)
            if saved["inputs"] != self.inputs:
                log.info(
                    "resume file %s belongs to other settings, code, inputs or another device: starting again",
                    self.path,
                )
                return State()
            state = State(**saved["state"], draws=_below("draws", tensors))
            optimiser, scaler = self._joined(tensors, saved["optimiser"]), saved["scaler"]
        except Exception as error:  # damaged files raise errors of many kinds
            if is_out_of_memory(error):
                raise
            warn("resume file %s cannot be read (%s): starting again", self.path, type(error).__name__)
            return State()
        self.model.load_state_dict(_below("model", tensors))
        self.optimiser.load_state_dict(optimiser)
        self.precision.load_state_dict(scaler)
        log.info("resuming after epoch %d%s", len(state.curve), f" and {state.step} steps" if state.step else "")
        return state

    def _joined(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> dict[str, Any]:
        """State dict of the optimiser. Tensors shaped as their parameter get its memory format back."""
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        state: dict[int, dict[str, Any]] = {int(k): dict(plain) for k, plain in values["state"].items()}
        for name, tensor in _below("optimiser", tensors).items():
            number, _, slot = name.partition(".")
            like = parameters[int(number)]
            alike = tensor.shape == like.shape
            state[int(number)][slot] = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor) if alike else tensor
        return {"state": state, "param_groups": values["param_groups"]}


def _split(state: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """An optimiser's state dict as named tensors, and plain values with an entry for each parameter."""
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for number, slots in state["state"].items():
        tensors |= {f"optimiser.{number}.{k}": v for k, v in slots.items() if isinstance(v, torch.Tensor)}
        plain[str(number)] = {k: v for k, v in slots.items() if not isinstance(v, torch.Tensor)}
    return tensors, {"state": plain, "param_groups": state["param_groups"]}


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix` and a dot, without it."""
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def digest(*parts: str | Path) -> str:
    """Digest of texts and of files' contents: what a resume file belongs to."""
    out = hashlib.blake2b(digest_size=16)
    for part in parts:
        out.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        out.update(b"\0")
    return out.hexdigest()


def resume_of(network: Path) -> Path:
    """The resume file of a training, by its product."""
    return network.parent / ".resume" / network.name


def keep_or_finish(resume: Path) -> None:
    """Remove the resume file of a written product, unless a workflow runs.

    Within a workflow it stays until a stage has read the product. Snakemake removes the outputs of a job that is killed
    at its very end. The training is then over at once when it is started again.
    """
    if not in_workflow():
        finish(resume)


def finish(resume: Path) -> None:
    """Remove a resume file, what killed writers left of it, and its folder when empty."""
    resume.unlink(missing_ok=True)
    remove_leftovers(resume.parent)
    with suppress(OSError):  # there are others, or it is gone
        resume.parent.rmdir()
