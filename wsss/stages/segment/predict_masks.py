"""Stage: a segmenter's masks of one shard."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss.files.artefacts import ArtefactError, ImageIndex
from wsss.files.imaging import read_indexed_image
from wsss.files.store import MapWriter
from wsss.runtime.console import log, progress, warn
from wsss.settings.sections import ComputeSection
from wsss.settings.stage_settings import PredictSettings
from wsss.stages.segment.inference import full_mask, load_segmenter, probabilities
from wsss.training.devices import pick_device

LEAST_IMAGES = 4


def predict_masks(
    *, index: Path, shard: Path, segmenter: Path, settings: PredictSettings, compute: ComputeSection, output: Path
) -> None:
    """Predict every image of a shard.

    Args:
        index: The data set's index.csv.
        shard: The shard's list of images.
        segmenter: segmenter.safetensors.
        settings: PSL's test phase, scales and flip.
        compute: Device, precision, threads.
        output: Store file with `mask` (H, W) uint8, argmax over all classes, and `probs` (K, h, w) float16 on the network's grid: of background and the image's labels
            (training images: the next cycle's CRF starts from them), or of background and the classes of the mask.

    Raises:
        ArtefactError: If an input is missing or damaged, or the segmenter knows other classes.
        ValueError: If predicted scores are to weigh and the segmenter was trained without PSL.
    """
    data = ImageIndex(index)
    rows = data.shard(shard)
    trained = load_segmenter(segmenter, device=pick_device(compute))
    if trained.class_names != data.class_names:
        raise ArtefactError(
            f"{segmenter}: trained for classes {trained.class_names[1:]}, but the data set has {data.class_names[1:]}; train it again"
        )
    empty = 0
    with MapWriter(output, stage="predict_masks", settings=settings.model_dump(mode="json")) as writer:
        for row in progress(rows, what="prediction"):
            f = probabilities(
                trained, read_indexed_image(row), psl=settings.psl, predict=settings.predict, labels=row.labels
            )
            mask = full_mask(f, size=(row.height, row.width))
            empty += not mask.any()
            own = row.class_ids if row.split == "train" else np.unique(mask[mask > 0])
            kept = np.concatenate([[0], own]).astype(np.uint8)
            writer.write(row.image_id, kept, mask=mask, probs=f[kept].astype(np.float16))
    log.info("%d images, %d all background", len(rows), empty)
    if len(rows) >= LEAST_IMAGES and empty == len(rows):
        warn(
            "all %d predicted masks are background: check the pseudo masks (coverage, classes) and the segmenter's loss curve",
            len(rows),
        )
