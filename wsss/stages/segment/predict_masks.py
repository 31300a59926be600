"""Stage: the masks that a segmenter predicts for one shard."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_indexed_image
from wsss.files.index import ImageIndex
from wsss.files.store import MapWriter
from wsss.runtime.console import log, progress, warn
from wsss.settings.sections import ComputeSection
from wsss.settings.stage_settings import PredictSettings
from wsss.stages.segment.inference import full_mask, load_segmenter, probabilities
from wsss.training.loop import pick_device

LEAST_IMAGES = 4
"""Fewer images than this can all be background without a warning."""


def predict_masks(
    *, index: Path, shard: Path, segmenter: Path, settings: PredictSettings, compute: ComputeSection, output: Path
) -> None:
    """Predict every image of a shard.

    Args:
        index: The data set's index.csv.
        shard: The shard's list of images.
        segmenter: segmenter.pt.
        settings: PSL's test phase, scales and flip.
        compute: Device, precision, threads.
        output: Store file with `mask` (H, W) uint8, argmax over all classes, and `probs` (K, h, w) float16 in [0, 1]
            on the network's grid. For training images, `probs` are of the background and the image's labels: the
            next cycle's CRF starts from them. For others, they are of the background and the classes of the mask.

    Raises:
        ArtefactError: If an input is missing or damaged, or the segmenter knows other classes.
        ValueError: If psl.test_weighting is predicted and the segmenter was trained without PSL.
    """
    data = ImageIndex(index)
    rows = data.shard(shard)
    trained = load_segmenter(segmenter, device=pick_device(compute))
    if trained.class_names != data.class_names:
        found, expected = trained.class_names[1:], data.class_names[1:]
        raise ArtefactError(
            f"{segmenter}: trained for classes {found}, but the data set has {expected}; train it again"
        )
    empty = 0
    with MapWriter(output, stage="predict_masks", settings=settings.model_dump(mode="json")) as writer:
        for row in progress(rows, what="prediction"):
            image_u8 = read_indexed_image(row)
            f = probabilities(trained, image_u8, psl=settings.psl, predict=settings.predict, labels=row.labels)
            mask = full_mask(f, size=(row.height, row.width))
            empty += not mask.any()
            own = row.class_ids if row.split == "train" else np.unique(mask[mask > 0])
            kept = np.concatenate([[0], own]).astype(np.uint8)
            writer.write(row.image_id, kept, mask=mask, probs=f[kept].astype(np.float16))
    log.info("%d images, %d all background", len(rows), empty)
    if len(rows) >= LEAST_IMAGES and empty == len(rows):
        check = "check the pseudo masks (coverage, classes) and the segmenter's loss curve"
        warn("all %d predicted masks are background: %s", len(rows), check)
