"""Stage: train the classification network of a round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from wsss.files.artefacts import ImageIndex, ImageRow, write_json
from wsss.files.store import MapSet
from wsss.methods import FACTS, SeedMethod, load_method
from wsss.nets.checkpoints import restore_network, save_network
from wsss.runtime.console import log
from wsss.settings.sections import ComputeSection
from wsss.settings.stage_settings import ClassifierSettings
from wsss.stages.seeds.earlier import Erased
from wsss.training import collectives, draws
from wsss.training.loading import TrainingImages
from wsss.training.loop import fit
from wsss.training.resume import digest, keep_or_finish, resume_of
from wsss.workflow.digests import code_digest

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
        output: The network, classifier.safetensors.
        record: Loss curve, time and memory, training.json.
        previous: The previous round's network, for methods that start from it.

    Raises:
        ValueError: If the loss becomes non-finite or the settings do not fit together.
        ArtefactError: If an input is missing or damaged.
    """
    data = ImageIndex(index)
    rows = data.split("train")
    method = load_method(settings.kind, options=settings.options, class_names=data.class_names)
    model = initial_network(
        method, num_classes=data.num_classes, settings=settings, previous=previous, class_names=data.class_names
    )
    classifier = method.training(settings.classifier, round=settings.round)
    images = TrainingImages(
        rows,
        normalisation=model.backbone.normalisation,  # type: ignore[union-attr,arg-type]
        augment=classifier.augment,
        seed=settings.seed,
        stage=STAGE,
        round=settings.round,
        mean_rgb=data.mean_rgb,
        erased=Erased(regions) if regions else None,
        planes={"saliency": SaliencyPlane(saliency)} if saliency else None,
    )
    resume = resume_of(output)
    weights = [path] if (path := Path(settings.backbone.weights)).is_file() else []
    beside = [
        index.parent / "classes.csv",
        index.parent / "statistics.json",
    ]  # the head's channels, and the colour of padding
    files = [index, *beside, *weights, *([previous] if previous else []), *regions, *saliency]
    done = fit(
        model,
        images,
        losses=lambda maps, batch: method.losses(maps, batch, settings=classifier, round=settings.round),
        parameters=method.trainable(model, round=settings.round),
        settings=classifier,
        freeze_batchnorm=settings.backbone.freeze_batchnorm,
        compute=compute,
        resume=resume,
        inputs=digest(identity(settings, compute=compute, rows=rows), *files),
    )
    if collectives.first():
        meta = {"stage": STAGE, "classes": data.class_names, "settings": settings.model_dump(mode="json")}
        write_json(record, done)
        save_network(output, state=model.state_dict(), meta=meta)
        keep_or_finish(resume)
    log.info("final loss %.4f", done["final_loss"])


def initial_network(
    method: SeedMethod,
    *,
    num_classes: int,
    settings: ClassifierSettings,
    previous: Path | None,
    class_names: Sequence[str] | None = None,
) -> torch.nn.Module:
    """The network before training; its random weights are keyed on (seed, stage, round).

    Args:
        method: The seed method.
        num_classes: C.
        settings: Round, seed, backbone.
        previous: The previous round's network, for methods that start from it.
        class_names: Those that the previous network must have been trained for; None: not compared.

    Returns:
        The network.
    """
    before: torch.nn.Module | None = None
    if previous:
        bare = settings.backbone.model_copy(update={"weights": "none"})
        before = method.build(num_classes, round=settings.round - 1, backbone=bare, previous=None)
        restore_network(before, previous, class_names=class_names)
    torch.manual_seed(draws.key(settings.seed, STAGE, settings.round, "weights"))
    return method.build(num_classes, round=settings.round, backbone=settings.backbone, previous=before)


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


def identity(settings: ClassifierSettings, *, compute: ComputeSection, rows: list[ImageRow]) -> str:
    """What a training is, apart from its input files: settings, arithmetic, code, and the images' names, sizes and times.

    Args:
        settings: Of the stage.
        compute: Only precision and threads change results.
        rows: The training images.

    Returns:
        A text; where it differs, a half-finished training is not gone on with.
    """
    machine = compute.model_dump_json(include={"precision", "threads"})
    code = code_digest(__name__, FACTS[settings.kind].module)
    states = [
        f"{row.image_id} {state.st_size} {state.st_mtime_ns}"
        for row in rows
        if row.image.exists() and (state := row.image.stat())
    ]
    return "\n".join([settings.model_dump_json(), machine, code, *states])
