"""Six small drawn images with exact masks, and a short training on them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.tiny_set import write_tiny_set
from wsss.files.imaging import save_mask
from wsss.files.index import INDEX_COLUMNS
from wsss.files.store import MapWriter
from wsss.files.text_files import write_csv
from wsss.settings.sections import (
    AugmentSection,
    BackboneSection,
    ComputeSection,
    OptimiserSection,
    PslSection,
    TrainingSection,
)
from wsss.settings.stage_settings import SegmenterSettings
from wsss.stages.segment.train_segmenter import train_segmenter

SIZES = [(64, 64), (64, 50), (50, 64), (64, 64), (57, 64), (64, 64)]
COLOURS = np.array([[60, 60, 60], [220, 40, 40], [40, 200, 60]], np.uint8)
COMPUTE = ComputeSection(device="cpu", threads=1, workers=0)
TINY = BackboneSection(name="test_efficientnet", weights="none", output_stride=16, freeze_batchnorm=False)


@dataclass(frozen=True)
class Drawn:
    """A data set of drawn images: two classes, red and green boxes on grey."""

    index: Path
    shard: Path
    masks: Path
    truth: dict[str, np.ndarray]


def draw(folder: Path) -> Drawn:
    """Images, their index with truth masks, and a store file of the same masks."""
    rng = np.random.default_rng(0)
    truth, images = {}, {}
    for k, (height, width) in enumerate(SIZES):
        mask = np.zeros((height, width), np.uint8)
        top, left = rng.integers(2, 16, 2)
        mask[top : top + 28, left : left + 24] = 1 + k % 2
        image = COLOURS[mask] + rng.integers(0, 20, (height, width, 1), dtype=np.uint8)
        truth[f"p{k}"], images[f"p{k}"] = mask, (image, [1 + k % 2])
    index, shard = write_tiny_set(folder, images, num_classes=2)
    with index.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["mask"] = f"truth_{row['image_id']}.png"
        save_mask(index.parent / row["mask"], truth[row["image_id"]])
    write_csv(index, INDEX_COLUMNS, rows)
    return Drawn(index, shard, store_masks(folder / "masks.h5", truth), truth)


def store_masks(path: Path, masks: dict[str, np.ndarray]) -> Path:
    """A store file of masks."""
    with MapWriter(path, stage="refine_masks", settings={}) as writer:
        for image_id, mask in masks.items():
            writer.write(image_id, np.unique(mask[(mask > 0) & (mask < 255)]), mask=mask)
    return path


def settings(*, epochs: int, psl: bool = False, **changes: object) -> SegmenterSettings:
    """A short training of a tiny network."""
    train = TrainingSection(
        epochs=epochs,
        min_steps=1,
        batch_size=3,
        optimiser=OptimiserSection(lr=3e-3, head_lr_factor=1.0),
        augment=AugmentSection(crop=64, resize_min=64, resize_max=64, flip=True),
    )
    return SegmenterSettings(backbone=TINY, train=train, psl=PslSection(enabled=psl), **changes)


def train(
    drawn: Drawn, folder: Path, given: SegmenterSettings, masks: list[Path] | None = None, **start: Path | None
) -> Path:
    """Train into a folder; gives segmenter.safetensors."""
    train_segmenter(
        index=drawn.index,
        masks=[drawn.masks] if masks is None else masks,
        **start,
        settings=given,
        compute=COMPUTE,
        output=folder / "segmenter.safetensors",
        record=folder / "metrics.json",
    )
    return folder / "segmenter.safetensors"
