"""Stage: train a segmenter from pseudo masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_mask
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.mask_values import IGNORE
from wsss.files.store import MapSet
from wsss.files.text_files import write_json
from wsss.nets.checkpoints import load_network, restore_network, save_network
from wsss.nets.segmenters import Segmenter, build_segmenter, parameter_groups
from wsss.runtime.console import log, progress, warn
from wsss.settings.sections import ComputeSection
from wsss.settings.stage_settings import SegmenterSettings
from wsss.stages.segment.psl import psl_losses
from wsss.training import collectives, draws
from wsss.training.loading import TrainingImages
from wsss.training.loop import fit
from wsss.training.resume import digest, keep_or_finish, resume_of
from wsss.workflow.digests import code_digest

STAGE = "train_segmenter"
Plane = Callable[[ImageRow], np.ndarray]
"""An image's row to its values, (H, W)."""


def train_segmenter(
    *,
    index: Path,
    masks: list[Path],
    previous: Path | None = None,
    classifier: Path | None = None,
    settings: SegmenterSettings,
    compute: ComputeSection,
    output: Path,
    record: Path,
) -> None:
    """Train one variant for one cycle.

    Args:
        index: The data set's index.csv.
        masks: Pseudo masks of the training shards; none with full supervision, which reads the truth masks.
        previous: The previous cycle's network, to start from its weights.
        classifier: A seed method's classifier, to start from its backbone. With neither, pretrained weights are used.
        settings: Network, training, PSL, seed and cycle.
        compute: Device, precision, threads, workers.
        output: The network, segmenter.safetensors. Its meta holds all that prediction needs.
        record: Loss curves, time and memory, metrics.json.

    Raises:
        ValueError: If no mask holds a foreground class, or the loss becomes non-finite.
        ArtefactError: If an input is missing or damaged.
    """
    data = ImageIndex(index)
    rows, planes = _training_set(data, masks, settings=settings)
    check_classes(planes["mask"], rows, class_names=data.class_names)
    torch.manual_seed(draws.key(settings.seed, STAGE, settings.cycle, "weights"))
    model = _initial(settings, previous=previous, classifier=classifier, class_names=data.class_names)
    images = TrainingImages(
        rows,
        normalisation=model.normalisation,
        augment=settings.train.augment,
        seed=settings.seed,
        stage=STAGE,
        round=settings.cycle,
        mean_rgb=data.mean_rgb,
        planes=planes,
    )
    truth = [r.mask for r in rows if r.mask] if settings.full_supervision else []
    read = [index, index.parent / "classes.csv", *masks, *truth, *(p for p in (previous, classifier) if p)]
    done = fit(
        model,
        images,
        losses=lambda outputs, batch: psl_losses(outputs, batch, settings=settings.psl),
        parameters=parameter_groups(model),
        settings=settings.train,
        freeze_batchnorm=settings.backbone.freeze_batchnorm,
        compute=compute,
        resume=resume_of(output),
        inputs=digest(settings.model_dump_json(), _machine(compute), code_digest(__name__), states(rows), *read),
    )
    if collectives.first():
        write_json(record, done)
        meta = {"stage": STAGE, "classes": data.class_names, "settings": settings.model_dump(mode="json")}
        save_network(output, state=model.state_dict(), meta=meta)
        keep_or_finish(resume_of(output))


def _machine(compute: ComputeSection) -> str:
    """What of the machine changes results."""
    return compute.model_dump_json(include={"precision", "threads"})


def _training_set(
    data: ImageIndex, masks: list[Path], *, settings: SegmenterSettings
) -> tuple[list[ImageRow], dict[str, Plane]]:
    """The images to train on, and by name what each crop carries: `mask`, and with PSL `inside`."""
    rows = data.split("train")
    planes: dict[str, Plane] = {"mask": PseudoMasks(masks)}
    if settings.full_supervision:
        rows, planes["mask"] = [r for r in rows if r.mask], TruthMasks()
    if not rows:
        raise ArtefactError(f"{data.path}: no training images" + " with truth masks" * settings.full_supervision)
    return rows, planes | ({"inside": Inside()} if settings.psl.enabled else {})


def _initial(
    settings: SegmenterSettings, *, previous: Path | None, classifier: Path | None, class_names: list[str]
) -> Segmenter:
    """The network before training: from the previous cycle's, else a classifier's backbone, else pretrained weights."""
    weights, backbone = settings.weights, settings.backbone
    if previous or classifier:
        weights, backbone = "none", backbone.model_copy(update={"weights": "none"})
    count = len(class_names) - 1
    model = build_segmenter(network=settings.network, weights=weights, backbone=backbone, num_classes=count)
    if previous:
        restore_network(model, previous, class_names=class_names)
    elif classifier:
        start_from_classifier(model, classifier, class_names=class_names)
    return model


def start_from_classifier(model: Segmenter, path: Path, *, class_names: list[str]) -> None:
    """Copy a classifier's backbone, and its head to the classification branch.

    A head is copied if it has one output per class on the same features.

    Args:
        model: The segmenter; changed in place.
        path: The classifier.
        class_names: Of the data set, background first.

    Raises:
        ArtefactError: If the file is no classifier of these classes, or its backbone is not the segmenter's.
    """
    state, meta = load_network(path)
    if meta.get("stage") != "train_classifier" or meta.get("classes") != class_names:
        expected = f"expected a classifier of the data set's {len(class_names) - 1} classes"
        raise ArtefactError(f"{path}: {expected}; run train_classifier again")
    weights = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    try:
        model.backbone.load_state_dict(weights)
    except RuntimeError as error:
        found = f"its backbone is not that of segment.network ({str(error).splitlines()[1].strip()[:200]})"
        raise ArtefactError(f"{path}: {found}; set segment.start to pretrained") from None
    log.info("starting from the backbone of %s", path)
    head = state.get("head.weight")
    if head is not None and head.flatten(1).shape == model.classify.weight.shape:
        with torch.no_grad():
            model.classify.weight.copy_(head.flatten(1))
        log.info("its head starts the classification branch")


class PseudoMasks:
    """The pseudo mask of a training image, (H, W) uint8."""

    def __init__(self, paths: list[Path]) -> None:
        """Open the files.

        Args:
            paths: Store files with `mask`.
        """
        self._maps = MapSet(paths)

    def __call__(self, row: ImageRow) -> np.ndarray:
        """(H, W) uint8."""
        return self._maps.read(row.image_id, "mask")["mask"]


class TruthMasks:
    """The truth mask of a training image, for the fully supervised reference only."""

    def __call__(self, row: ImageRow) -> np.ndarray:
        """(H, W) uint8."""
        assert row.mask is not None
        return read_mask(row.mask)


class Inside:
    """1 on an image: crops are padded with 0."""

    def __call__(self, row: ImageRow) -> np.ndarray:
        """(H, W) float32."""
        return np.ones((row.height, row.width), np.float32)


def states(rows: list[ImageRow]) -> str:
    """Name, size and time of the images. If one is replaced, a training starts from its first epoch."""
    found = ((row, row.image.stat()) for row in rows if row.image.exists())
    return "\n".join(f"{row.image_id} {state.st_size} {state.st_mtime_ns}" for row, state in found)


def check_classes(masks: Plane, rows: list[ImageRow], *, class_names: list[str]) -> None:
    """Stop if no mask holds an object, and warn of classes that no mask holds.

    A segmenter would never predict such a class, without a word.

    Args:
        masks: Row to mask.
        rows: The training images.
        class_names: By id, background first.

    Raises:
        ValueError: If every mask is background and ignore only.
        ArtefactError: If a mask has another size than its image, or holds other values than class ids and 255.
    """
    seen = np.zeros(256, np.int64)
    for row in progress(rows, what="checking masks"):
        mask = masks(row)
        if mask.shape != (row.height, row.width):
            found = f"its mask is {mask.shape}, the image {(row.height, row.width)} (height, width)"
            raise ArtefactError(f"image {row.image_id}: {found}; delete the mask's file and rerun")
        seen += np.bincount(mask.ravel(), minlength=256)
    if illegal := [int(k) for k in np.flatnonzero(seen) if len(class_names) <= k < IGNORE]:
        legal = f"legal are 0..{len(class_names) - 1} and {IGNORE}"
        raise ArtefactError(f"training masks hold values {illegal}; {legal}; make the masks again")
    if not seen[1:IGNORE].any():
        found = f"none of the {len(rows)} training masks holds an object (only background and ignore)"
        raise ValueError(f"{found}: check pseudo.seed, saliency and the classifier's loss curve")
    if missing := [name for k, name in enumerate(class_names[1:], 1) if not seen[k]]:
        warn("no training mask holds %s: the segmenter cannot learn them", ", ".join(missing))
