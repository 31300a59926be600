"""Stage: score maps of the present classes, raw and signed: the mean over scales and flips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from wsss.files.imaging import Normalisation, erase, normalise, read_indexed_image, resize_image
from wsss.files.index import ImageIndex
from wsss.files.store import MapWriter
from wsss.methods import FACTS, SeedMethod
from wsss.runtime.console import log, progress, warn
from wsss.settings.sections import ComputeSection, ScoresSection
from wsss.settings.stage_settings import ScoresSettings
from wsss.stages.seeds.earlier import Erased
from wsss.training.classifiers import restore_classifier
from wsss.training.loop import evaluating

LEAST_FOR_WARNING = 0.1
"""Share of images without any positive score above which the stage warns."""
LEAST_SIDE = 32
"""Smallest side in px that an image is scaled to."""


def extract_scores(
    *,
    index: Path,
    shard: Path,
    classifier: Path,
    regions: list[Path],
    settings: ScoresSettings,
    compute: ComputeSection,
    output: Path,
) -> None:
    """Extract the score maps of one shard, on the images as the round saw them.

    Pixels that earlier rounds claimed are erased here too (AE-PSL, Algorithm 1).

    Args:
        index: The data set's index.csv.
        shard: The shard's list of images.
        classifier: The round's network.
        regions: Regions of every earlier round; none in round 1.
        settings: Method kind, round, backbone, scales and flip.
        compute: Device, precision, threads.
        output: Store file with `scores` (K, h, w) float16; the map of class 0 first, if the method has one.

    Raises:
        ArtefactError: If an input is missing or damaged.
        ValueError: If the network gives non-finite maps.
    """
    data = ImageIndex(index)
    rows = data.shard(shard)
    method, model, device = restore_classifier(
        classifier, class_names=data.class_names, settings=settings, round=settings.round, compute=compute
    )
    normalisation: Normalisation = model.backbone.normalisation  # type: ignore[union-attr,assignment]
    erased = Erased(regions) if regions else None
    background = [0] if FACTS[settings.kind].background else []
    dead = 0
    with (
        MapWriter(output, stage="extract_scores", settings=settings.model_dump(mode="json")) as writer,
        evaluating(model),
    ):
        for row in progress(rows, what="scores"):
            image_u8 = read_indexed_image(row)
            region = erased(row) if erased else None
            if region is not None:
                image_u8 = erase(image_u8, region, colour=data.mean_rgb)
            class_ids = np.array([*background, *row.class_ids], np.int64)
            maps = score_maps(
                method, model, image_u8, class_ids=class_ids, normalisation=normalisation, settings=settings.scores,
                device=device,
            )  # (K, h, w)  # fmt: skip
            foreground = maps[len(background) :]
            dead += bool(len(foreground)) and bool(foreground.max() <= 0)
            writer.write(row.image_id, class_ids, scores=maps.astype(np.float16))
    log.info("%d images, %d with no positive score anywhere", len(rows), dead)
    if rows and dead > LEAST_FOR_WARNING * len(rows):
        found = "%d of %d images have no positive score for any of their classes"
        warn(f"{found}: the classifier has not learnt them; look at its loss curve", dead, len(rows))


def score_maps(
    method: SeedMethod,
    model: torch.nn.Module,
    image_u8: np.ndarray,
    *,
    class_ids: np.ndarray,
    normalisation: Normalisation,
    settings: ScoresSection,
    device: torch.device,
) -> np.ndarray:
    """Average a method's raw maps over scales and flips, on the grid of scale 1.

    The grid has one cell for each `stride` pixels, rounded up.

    Args:
        method: The seed method.
        model: Its network, in evaluation mode; has `backbone.stride`.
        image_u8: (H, W, 3) uint8.
        class_ids: (K,) present classes; 0 asks for the background's map.
        normalisation: Of the network.
        settings: Scales and flip.
        device: Of the network.

    Returns:
        (K, h, w) float32, signed.
    """
    (height, width), stride = image_u8.shape[:2], int(model.backbone.stride)  # type: ignore[union-attr,arg-type]
    grid, ids = (-(-height // stride), -(-width // stride)), [int(c) for c in class_ids]
    if not ids:
        return np.zeros((0, *grid), np.float32)
    total = torch.zeros(len(ids), *grid, device=device)  # (K, h, w)
    for scale in settings.scales:
        size = (max(LEAST_SIDE, round(height * scale)), max(LEAST_SIDE, round(width * scale)))
        scaled = image_u8 if scale == 1 else resize_image(image_u8, size=size)
        views = [scaled, scaled[:, ::-1]] if settings.flip else [scaled]
        image_n = torch.stack([torch.from_numpy(normalise(view, normalisation)) for view in views]).to(device)
        image_n = image_n.contiguous(memory_format=torch.channels_last)  # (1 or 2, 3, H', W')
        maps = method.scores(model, image_n, ids).float()  # (1 or 2, K, h', w')
        mean = (maps[0] + maps[1].flip(-1)) / 2 if settings.flip else maps[0]  # (K, h', w')
        if mean.shape != total.shape:
            mean = F.interpolate(mean[None], grid, mode="bilinear", align_corners=False)[0]  # (K, h, w)
        total += mean
    return (total / len(settings.scales)).cpu().numpy()
