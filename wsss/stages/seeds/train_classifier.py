"""Stage: train the classification network of a round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from wsss.files.imaging import Normalisation
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.store import MapSet
from wsss.files.text_files import write_json
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
    """Train the classifier of a round on the training images, without what earlier rounds claimed.

    Args:
        index: The data set's index.csv.
        regions: Regions of every earlier round, all training shards; none in round 1.
        saliency: Saliency maps of the training shards, for methods that need them.
        settings: Method kind, round, seed, backbone, training.
        compute: Device, precision, threads, workers.
        output: The network, classifier.pt.
        record: Loss curve, time and memory, training.json.
        previous: The previous round's network, for methods that start from it.

    Raises:
        ValueError: If the loss is not finite, or the settings do not fit together.
        ArtefactError: If an input is missing or damaged.
    """
    data = ImageIndex(index)
    rows, names = data.split("train"), data.class_names
    method = load_method(settings.kind, options=settings.options, class_names=names)
    model = initial_network(
        method, num_classes=data.num_classes, settings=settings, previous=previous, class_names=names
    )
    classifier = method.training(settings.classifier, round=settings.round)
    normalisation: Normalisation = model.backbone.normalisation  # type: ignore[union-attr,assignment]
    images = TrainingImages(
        rows, normalisation=normalisation, augment=classifier.augment,
        seed=settings.seed, stage=STAGE, round=settings.round, mean_rgb=data.mean_rgb,
        erased=Erased(regions) if regions else None,
        planes={"saliency": SaliencyPlane(saliency)} if saliency else None,
    )  # fmt: skip
    resume = resume_of(output)
    files = [*_always_read(index, settings), *([previous] if previous else []), *regions, *saliency]
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
        write_json(record, done)
        meta = {"stage": STAGE, "classes": names, "settings": settings.model_dump(mode="json")}
        save_network(output, state=model.state_dict(), meta=meta)
        keep_or_finish(resume)
    log.info("final loss %.4f", done["final_loss"])


def _always_read(index: Path, settings: ClassifierSettings) -> list[Path]:
    """The files that every round reads."""
    # classes.csv sets the head's channels, statistics.json the colour of padding.
    beside = [index.parent / "classes.csv", index.parent / "statistics.json"]
    weights = Path(settings.backbone.weights)
    return [index, *beside, *([weights] if weights.is_file() else [])]


def initial_network(
    method: SeedMethod,
    *,
    num_classes: int,
    settings: ClassifierSettings,
    previous: Path | None,
    class_names: Sequence[str] | None = None,
) -> torch.nn.Module:
    """Build the network before training. Its random weights are keyed on (seed, stage, round).

    Args:
        method: The seed method.
        num_classes: C.
        settings: Round, seed, backbone.
        previous: The previous round's network, for methods that start from it.
        class_names: Classes that the previous network must have been trained for; None: not checked.

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
    """Describe a training, apart from its input files: settings, arithmetic, code, and the images' names, sizes, times.

    Args:
        settings: The stage's settings.
        compute: Only precision and threads change results.
        rows: The training images.

    Returns:
        A text. An unfinished training continues only if its text is the same.
    """
    machine = compute.model_dump_json(include={"precision", "threads"})
    code = code_digest(__name__, FACTS[settings.kind].module)
    states = [
        f"{row.image_id} {state.st_size} {state.st_mtime_ns}"
        for row in rows
        if row.image.exists() and (state := row.image.stat())
    ]
    return "\n".join([settings.model_dump_json(), machine, code, *states])
