"""Every kind of training by one process and by two: the same result up to rounding, with dropout off.

`pytest tests/training/test_agreement.py -s` prints the differences.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.tiny_set import write_tiny_set
from wsss.files.index import ImageIndex
from wsss.files.store import MapWriter
from wsss.files.text_files import read_json
from wsss.methods import load_method
from wsss.nets.checkpoints import load_network
from wsss.nets.segmenters import build_segmenter
from wsss.settings.sections import (
    AugmentSection,
    BackboneSection,
    ComputeSection,
    OptimiserSection,
    PslSection,
    TrainingSection,
)
from wsss.settings.stage_settings import ClassifierSettings, SegmenterSettings
from wsss.stages.seeds.train_classifier import initial_network, train_classifier
from wsss.stages.segment.train_segmenter import train_segmenter
from wsss.training import draws
from wsss.training.launching import run_together

COMPUTE = ComputeSection(device="cpu", threads=1, workers=0)
CLASSIFIERS: dict[str, dict] = {
    "cam": {},
    "cam, squared loss": {"loss": "squared"},
    "eps": {"kind": "eps"},
    "esol, expansion": {"kind": "esol", "round": 2},
    "esol, shrinkage": {"kind": "esol", "round": 3},
    "prm": {"kind": "prm"},
}
SEGMENTERS = {"segmenter": PslSection(enabled=False), "segmenter, psl": PslSection(enabled=True, warmup=0.0)}


def write_data(folder: Path) -> None:
    """Ten images with one to three labels, saliency, and masks of which more or less is labelled."""
    rng = np.random.default_rng(0)
    images = {
        f"p{k}": (rng.integers(0, 256, (60 + k, 70 - k, 3), dtype=np.uint8), list(range(1, 2 + k % 3)))
        for k in range(10)
    }
    rows = ImageIndex(write_tiny_set(folder, images)[0]).split("train")
    with (
        MapWriter(folder / "saliency.h5", stage="estimate_saliency", settings={}) as cues,
        MapWriter(folder / "masks.h5", stage="refine_masks", settings={}) as masks,
    ):
        for k, row in enumerate(rows):
            cues.write(
                row.image_id,
                np.array([], np.int64),
                saliency=rng.integers(0, 256, (row.height, row.width), dtype=np.uint8),
            )
            mask = rng.choice([0, *row.class_ids], (row.height, row.width)).astype(np.uint8)
            mask[: k * row.height // 11] = 255
            masks.write(row.image_id, np.array(row.class_ids), mask=mask)


def training(kind: str) -> dict:
    """Two epochs of two steps: batches of five are two and three images for two processes."""
    optimiser = OptimiserSection(kind=kind, lr=0.02 if kind == "sgd" else 3e-4)
    return TrainingSection(
        epochs=2,
        min_steps=1,
        batch_size=5,
        optimiser=optimiser,
        augment=AugmentSection(crop=64, resize_min=56, resize_max=80),
    ).model_dump()


def classifier_settings(name: str, *, optimiser: str) -> ClassifierSettings:
    """One of CLASSIFIERS."""
    given = CLASSIFIERS[name]
    backbone = {"name": "test_resnet", "weights": "none", "freeze_batchnorm": True}
    options = {"expansion": {"epochs": 2}, "shrinkage": {"epochs": 2}} if given.get("kind") == "esol" else {}
    classifier = {**training(optimiser), "loss": given.get("loss", "soft_margin")}
    return ClassifierSettings.model_validate(
        {
            "kind": given.get("kind", "cam"),
            "round": given.get("round", 1),
            "backbone": backbone,
            "options": options,
            "classifier": classifier,
        }
    )


def previous_of(settings: ClassifierSettings, *, start: Path) -> Path | None:
    """The network that a round starts from."""
    return {2: start / "cam.safetensors", 3: start / "esol, expansion.safetensors"}.get(settings.round)


def train_all(*, data: Path, folder: Path, start: Path, optimiser: str) -> None:
    """Train every kind into FOLDER/{name}.safetensors; a round that starts from the one before finds it in `start`."""
    with patch.object(F, "dropout", lambda x, *_, **__: x):  # each process draws for its own rows
        _train_all(data=data, folder=folder, start=start, optimiser=optimiser)


def _train_all(*, data: Path, folder: Path, start: Path, optimiser: str) -> None:
    index = data / "dataset" / "index.csv"
    for name in CLASSIFIERS:
        settings = classifier_settings(name, optimiser=optimiser)
        train_classifier(
            index=index,
            regions=[],
            saliency=[data / "saliency.h5"] if settings.kind == "eps" else [],
            settings=settings,
            compute=COMPUTE,
            output=folder / f"{name}.safetensors",
            record=folder / f"{name}.json",
            previous=previous_of(settings, start=start),
        )
    for name, psl in SEGMENTERS.items():
        settings = SegmenterSettings(
            network="largefov", weights="none", psl=psl, train=TrainingSection.model_validate(training(optimiser))
        )
        train_segmenter(
            index=index,
            masks=[data / "masks.h5"],
            settings=settings,
            compute=COMPUTE,
            output=folder / f"{name}.safetensors",
            record=folder / f"{name}.json",
        )


def untrained(name: str, *, start: Path, optimiser: str) -> dict[str, torch.Tensor]:
    """The weights that a training starts from."""
    if name in SEGMENTERS:
        torch.manual_seed(draws.key(0, "train_segmenter", 0, "weights"))
        return build_segmenter(
            network="largefov", weights="none", backbone=BackboneSection(), num_classes=3
        ).state_dict()
    settings = classifier_settings(name, optimiser=optimiser)
    method = load_method(settings.kind, options=settings.options)
    return initial_network(
        method, num_classes=3, settings=settings, previous=previous_of(settings, start=start)
    ).state_dict()


def largest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Largest difference of a weight."""
    assert a.keys() == b.keys()
    return max(float((a[k].double() - b[k].double()).abs().max()) for k in a)


def share_apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], *, by: float) -> float:
    """Share of the weights that differ by more."""
    return sum(int(((a[k] - b[k]).abs() > by).sum()) for k in a) / sum(v.numel() for v in a.values())


@pytest.mark.parametrize("optimiser", ["sgd", pytest.param("adamw", marks=pytest.mark.slow)])
def test_two_processes_agree_with_one(tmp_path, optimiser):
    write_data(tmp_path)
    torch.set_num_threads(1)
    start = tmp_path / "one"
    given = {"data": tmp_path, "start": start, "optimiser": optimiser}
    train_all(folder=tmp_path / "one", **given)
    run_together(train_all, {"folder": tmp_path / "two", **given}, count=2, cuda=False)
    columns = [
        "a weight moved by up to",
        "and differs by up to",
        "weights more than 1e-6 apart",
        "losses differ by up to",
    ]
    print(f"\n| training with {optimiser} | {' | '.join(columns)} |\n|---|---|---|---|---|")
    for name in [*CLASSIFIERS, *SEGMENTERS]:
        one, two = (load_network(tmp_path / n / f"{name}.safetensors")[0] for n in ("one", "two"))
        records = [read_json(tmp_path / n / f"{name}.json") for n in ("one", "two")]
        curves = [[v for e in r["loss_curve"] for k, v in e.items() if k not in ("epoch", "seconds")] for r in records]
        losses = max(abs(a - b) / max(abs(a), 1e-3) for a, b in zip(*curves, strict=True))
        moved, apart = largest(one, untrained(name, start=start, optimiser=optimiser)), largest(one, two)
        far = share_apart(one, two, by=1e-6)
        print(f"| {name} | {moved:.0e} | {apart:.0e} | {far:.0e} of all | {losses:.0e} of the loss |")
        assert records[1]["processes"] == 2
        if optimiser == "sgd":  # AdamW divides a gradient by its own size: where that is nearly nothing, rounding shows
            assert apart <= 1e-5 * moved, name
        assert losses < 1e-4, name
