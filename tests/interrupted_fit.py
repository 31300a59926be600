"""A short training, also in processes of its own, to be stopped or killed.

python -m tests.interrupted_fit FOLDER EPOCHS WORKERS [PROCESSES]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wsss.files.imaging import Normalisation
from wsss.files.index import ImageIndex
from wsss.nets.checkpoints import save_network
from wsss.settings.sections import AugmentSection, ComputeSection, OptimiserSection, TrainingSection
from wsss.training import collectives
from wsss.training.launching import run_together
from wsss.training.loading import TrainingImages
from wsss.training.loop import fit

from .tiny_set import write_tiny_set


class Network(nn.Module):
    """Convolutions, BatchNorm and dropout: all that a resumed training must restore."""

    def __init__(self, *, batchnorm: bool = True, dropout: float = 0.3) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Sequential(nn.Conv2d(6, 3, 1), nn.BatchNorm2d(3) if batchnorm else nn.Identity())

    def forward(self, image_n: torch.Tensor) -> torch.Tensor:
        """(N, 3, c, c) to (N, 3)."""
        return self.head(self.backbone(image_n)).mean((2, 3))


def network(**options) -> Network:
    """The same start every time; with batchnorm=False only the backbone has BatchNorm, which can be frozen."""
    torch.manual_seed(5)
    return Network(**options)


def equal(a: nn.Module, b: nn.Module) -> bool:
    """Whether two networks hold the same bits."""
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def write_set(folder: Path) -> Path:
    """The index of nine images of noise."""
    rng = np.random.default_rng(0)
    return write_tiny_set(
        folder, {f"p{k}": (rng.integers(0, 256, (36, 44, 3), dtype=np.uint8), [1 + k % 3]) for k in range(9)}
    )[0]


def training_images(index: Path) -> TrainingImages:
    """Small random crops."""
    data = ImageIndex(index)
    augment = AugmentSection(crop=32, resize_min=32, resize_max=48)
    normalisation = Normalisation(mean=(127.0,) * 3, std=(128.0,) * 3)
    return TrainingImages(
        data.split("train"),
        normalisation=normalisation,
        augment=augment,
        seed=0,
        stage="test",
        round=1,
        mean_rgb=np.full(3, 127.0),
    )


def losses(outputs, batch):
    """Squared error."""
    return {"error": (outputs - batch["labels"]).square().mean()}


def train(
    index: Path,
    resume: Path,
    *,
    epochs: int,
    workers: int = 0,
    inputs: str = "a",
    model: nn.Module | None = None,
    **changed,
):
    """(model, record) after `fit`."""
    model = model or network()
    images = changed.pop("images", None)
    optimiser = changed.pop("optimiser", OptimiserSection(lr=1e-2, head_lr_factor=3))
    length = {"min_steps": changed.pop("min_steps", 1), "batch_size": changed.pop("batch_size", 4)}
    precision = changed.pop("precision", "32")
    record = fit(
        model,
        training_images(index) if images is None else images,
        losses=changed.pop("losses", losses),
        parameters=(list(model.backbone.parameters()), list(model.head.parameters())),
        settings=TrainingSection(epochs=epochs, optimiser=optimiser, **length),
        freeze_batchnorm=changed.pop("freeze_batchnorm", False),
        compute=ComputeSection(device="cpu", threads=1, workers=workers, precision=precision),
        resume=resume,
        inputs=inputs,
    )
    assert not changed
    return model, record


def train_frozen(*, folder: Path, index: Path, epochs: int, workers: int = 0, dropout: float = 0.0, **changed) -> dict:
    """A training that several processes can share: FOLDER/model.safetensors, and its resume file on the way."""
    given = {
        "optimiser": OptimiserSection(kind="sgd", lr=0.05, weight_decay=0.0),
        "freeze_batchnorm": True,
        "model": network(batchnorm=False, dropout=dropout),
        **changed,
    }
    trained, record = train(index, folder / ".resume" / "model.safetensors", epochs=epochs, workers=workers, **given)
    if collectives.first():
        save_network(folder / "model.safetensors", state=trained.state_dict(), meta={"record": record})
    return record


def train_free(*, folder: Path, index: Path, epochs: int, workers: int = 0) -> None:
    """As `train_frozen`, with BatchNorm that learns its statistics."""
    train_frozen(
        folder=folder,
        index=index,
        epochs=epochs,
        workers=workers,
        freeze_batchnorm=False,
        model=network(),
        optimiser=OptimiserSection(lr=1e-2, head_lr_factor=3),
    )


if __name__ == "__main__":
    where, (epochs, workers, *processes) = Path(sys.argv[1]), map(int, sys.argv[2:])
    arguments = {"folder": where, "index": where / "dataset" / "index.csv", "epochs": epochs, "workers": workers}
    if processes:
        from tests.interrupted_fit import train_frozen as shared  # by its name: the processes import it

        run_together(shared, arguments | {"dropout": 0.3}, count=processes[0], cuda=False)
    else:
        train_free(**arguments)
