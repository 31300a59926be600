"""Stage: train the classification network of a round."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from wsss import draws
from wsss.artefacts import ArtefactError, ImageIndex, ImageRow, write_json
from wsss.console import log
from wsss.loading import TrainingImages
from wsss.sections import ClassifierSettings, ComputeSection
from wsss.seeds.method import load_method
from wsss.store import MapSet
from wsss.training import finish, fit, load_network, save_network

STAGE = "train_classifier"


def train_classifier(
    *,
    index: Path,
    regions: list[Path],
    saliency: list[Path],
    settings: ClassifierSettings,
    compute: ComputeSection,
    output: Path,
    record: Path,
    previous: Path | None = None,
) -> None:
    """Train the classifier of a round on the training images, hiding what earlier rounds claimed.

    Args:
        index: The data set's index.csv.
        regions: Store files of every earlier round's regions, all training shards; none in round 1.
        saliency: Saliency maps of the training shards, for methods that need them.
        settings: Method kind, round, seed, backbone, training.
        compute: Device, precision, threads, workers.
        output: The network, classifier.pt.
        record: Loss curve, time and memory, training.json.
        previous: The previous round's network, for methods that start from it.

    Raises:
        ValueError: If the loss becomes non-finite or the settings do not fit together.
        ArtefactError: If an input is missing or damaged.
    """
    data = ImageIndex(index)
    rows = data.split("train")
    if not rows:
        raise ArtefactError(f"{index}: no training images")
    method = load_method(settings.kind)
    torch.manual_seed(draws.key(settings.seed, STAGE, settings.round, "weights"))
    earlier = load_network(previous)[0] if previous else None
    model = method.build(data.num_classes, round=settings.round, backbone=settings.backbone, previous=None)
    if earlier:
        model.load_state_dict(earlier, strict=False)
    images = TrainingImages(
        rows,
        normalisation=model.backbone.normalisation,  # type: ignore[union-attr,arg-type]
        augment=settings.classifier.augment,
        seed=settings.seed,
        stage=STAGE,
        round=settings.round,
        mean_rgb=data.mean_rgb,
        erased=Erased(regions) if regions else None,
        planes={"saliency": SaliencyPlane(saliency)} if saliency else None,
    )
    resume = output.parent / ".resume" / "classifier.pt"
    done = fit(
        model,
        images,
        losses=lambda maps, batch: method.losses(maps, batch, settings=settings.classifier),
        parameters=method.trainable(model, round=settings.round),
        settings=settings.classifier,
        freeze_batchnorm=settings.backbone.freeze_batchnorm,
        compute=compute,
        resume=resume,
        inputs=digest(settings.model_dump_json(), compute.model_dump_json(include={"precision", "threads"}), index, *regions, *saliency),
    )
    meta = {"stage": STAGE, "classes": data.class_names, "settings": settings.model_dump(mode="json")}
    write_json(record, done)
    save_network(output, state=model.state_dict(), meta=meta)
    finish(resume)
    log.info("final loss %.4f", done["final_loss"])


class Erased:
    """The pixels that earlier rounds claimed: union over rounds and classes. One file a (round, shard)."""

    def __init__(self, paths: list[Path]) -> None:
        """Open the files.

        Args:
            paths: Store files with `regions` (K, H, W) bool; an image may be in several (one a round).
        """
        self._sets = [MapSet([path]) for path in paths]

    def __call__(self, row: ImageRow) -> np.ndarray | None:
        """(H, W) bool, or None if no round has claimed anything of this image."""
        found = [s.read(row.image_id, "regions")["regions"].any(0) for s in self._sets if row.image_id in s]
        return np.logical_or.reduce(found) if found else None


class SaliencyPlane:
    """Saliency of a training image as a float32 plane in [0, 1]."""

    def __init__(self, paths: list[Path]) -> None:
        """Open the files.

        Args:
            paths: Store files with `saliency` (H, W) uint8.
        """
        self._maps = MapSet(paths)

    def __call__(self, row: ImageRow) -> np.ndarray:
        """(H, W) float32."""
        return self._maps.read(row.image_id)["saliency"].astype(np.float32) / 255


def digest(*parts: str | Path) -> str:
    """Digest of texts and of files' contents."""
    out = hashlib.blake2b(digest_size=16)
    for part in parts:
        out.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        out.update(b"\0")
    return out.hexdigest()
