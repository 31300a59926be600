"""A short training in a process of its own, to be killed: `python -m tests.interrupted_fit FOLDER EPOCHS WORKERS`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wsss.artefacts import ImageIndex
from wsss.imaging import Normalisation
from wsss.loading import TrainingImages
from wsss.networks import save_network
from wsss.sections import AugmentSection, ComputeSection, OptimiserSection, TrainingSection
from wsss.training import fit


class Network(nn.Module):
    """Convolutions, BatchNorm and dropout: all that a resumed training must restore."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Sequential(nn.Conv2d(6, 3, 1), nn.BatchNorm2d(3))

    def forward(self, image_n: torch.Tensor) -> torch.Tensor:
        """(N, 3, c, c) to (N, 3)."""
        return self.head(self.backbone(image_n)).mean((2, 3))


def network() -> Network:
    """The same start every time."""
    torch.manual_seed(5)
    return Network()


def training_images(index: Path) -> TrainingImages:
    """Small random crops."""
    data = ImageIndex(index)
    augment = AugmentSection(crop=32, resize_min=32, resize_max=48)
    normalisation = Normalisation(mean=(127.0,) * 3, std=(128.0,) * 3)
    return TrainingImages(data.split("train"), normalisation=normalisation, augment=augment, seed=0, stage="test", round=1, mean_rgb=np.full(3, 127.0))


def losses(outputs, batch):
    """Squared error."""
    return {"error": (outputs - batch["labels"]).square().mean()}


def train(index: Path, resume: Path, *, epochs: int, workers: int = 0, inputs: str = "a", model: nn.Module | None = None, **changed):
    """(model, record) after `fit`."""
    model = model or network()
    images = changed.pop("images", None)
    optimiser = changed.pop("optimiser", OptimiserSection(lr=1e-2, head_lr_factor=3))
    record = fit(
        model, training_images(index) if images is None else images, losses=changed.pop("losses", losses), parameters=(list(model.backbone.parameters()), list(model.head.parameters())),
        settings=TrainingSection(epochs=epochs, min_steps=changed.pop("min_steps", 1), batch_size=4, optimiser=optimiser), freeze_batchnorm=changed.pop("freeze_batchnorm", False),
        compute=ComputeSection(device="cpu", threads=1, workers=workers), resume=resume, inputs=inputs,
    )  # fmt: skip
    assert not changed
    return model, record


if __name__ == "__main__":
    where = Path(sys.argv[1])
    trained, _ = train(where / "dataset" / "index.csv", where / ".resume" / "model.pt", epochs=int(sys.argv[2]), workers=int(sys.argv[3]))
    save_network(where / "model.pt", state=trained.state_dict(), meta={})
