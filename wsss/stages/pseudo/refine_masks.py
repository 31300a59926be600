"""Stage: the masks that train a segmenter, by dense CRF and label filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_indexed_image, resize_maps
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.store import MapReader, MapRecord, MapWriter
from wsss.runtime.console import progress
from wsss.runtime.processes import map_blocks
from wsss.settings.stage_settings import RefineSettings
from wsss.stages.pseudo.crf import crf_parameters, dense_crf, label_probabilities
from wsss.stages.pseudo.guard import BackgroundGuard
from wsss.stages.pseudo.seedmask import filter_labels


def refine_masks(
    *, index: Path, shard: Path, masks: Path, settings: RefineSettings, workers: int, output: Path
) -> None:
    """Refine masks with a dense CRF and filter their labels.

    The result holds only background, ignored pixels and the classes of the image-level labels.

    If `masks` holds probabilities (a segmenter's predictions), those of other classes are left out first; the CRF
    starts from the rest. If it holds masks only (seeds), pixels of other classes become 255; the CRF starts from the
    hard labels and decides about 255 itself, whose probabilities are uniform. With refine none there is no CRF.

    Args:
        index: The data set's index.csv.
        shard: Shard file that lists the images.
        masks: Store file with `mask` (H, W) uint8. From predict_masks it also has `probs` (K, h, w), and class 0 among
            its class ids.
        settings: Whether and how to refine.
        workers: Number of processes; does not change results.
        output: Store file with `mask` (H, W) uint8 at image size, and the image's classes as class ids.

    Raises:
        ValueError: If a map does not fit its image, or all masks come out without a class.
    """
    keys = f"pseudo.seed (thresholds, cue), saliency.kind and pseudo.crf (settings: {settings.model_dump()})"
    look_at = f"{keys}, and the metrics of the stage that made {masks}"
    guard = BackgroundGuard(stage="refine_masks", look_at=look_at)
    rows = ImageIndex(index).shard(shard)
    MapReader(masks).close()  # a missing or damaged file is reported before processes start
    with MapWriter(output, stage="refine_masks", settings=settings.model_dump()) as writer:
        refined = map_blocks(partial(_refine_block, masks=masks, settings=settings), rows, workers=workers)
        for row, mask in zip(rows, progress(refined, what="refine_masks", total=len(rows)), strict=True):
            guard.add(mask, row.class_ids)
            writer.write(row.image_id, row.class_ids, mask=mask)
        guard.check()


def _refine_block(rows: Sequence[ImageRow], *, masks: Path, settings: RefineSettings) -> Iterator[np.ndarray]:
    """The refined mask (H, W) uint8 of each row; opens the store once."""
    with MapReader(masks) as reader:
        for row in rows:
            record = reader.read(row.image_id)
            if "probs" in record.arrays:
                yield _refine_probabilities(row, record, settings=settings)
            else:
                yield _refine_labels(row, record["mask"], settings=settings)


def _refine_probabilities(row: ImageRow, record: MapRecord, *, settings: RefineSettings) -> np.ndarray:
    """Refine a segmenter's probabilities, restricted to background and the image's classes: (H, W) uint8."""
    ids = np.concatenate([[0], row.class_ids]).astype(np.uint8)
    if missing := sorted(set(ids.tolist()) - set(record.class_ids.tolist())):
        raise ArtefactError(
            f"image {row.image_id}: probabilities for classes {missing} are missing "
            f"(found {record.class_ids.tolist()}); rerun predict_masks"
        )
    chosen = record["probs"][[record.class_ids.tolist().index(i) for i in ids]].astype(np.float32)  # (K, h, w)
    probabilities = np.maximum(resize_maps(chosen, size=(row.height, row.width)), 1e-12)  # (K, H, W), never all 0
    probabilities = probabilities / probabilities.sum(0)
    return ids[_crf(row, probabilities, settings=settings).argmax(0)]


def _refine_labels(row: ImageRow, mask: np.ndarray, *, settings: RefineSettings) -> np.ndarray:
    """Refine a seed mask: (H, W) uint8."""
    size = (row.height, row.width)
    if mask.shape != size:
        raise ArtefactError(
            f"image {row.image_id}: the mask is {mask.shape}, the index says {size} (height, width); "
            "rerun the stage that made it"
        )
    filtered = filter_labels(mask, row.class_ids)
    if settings.refine == "none":
        return filtered
    probabilities = label_probabilities(filtered, row.class_ids, confidence=settings.crf.label_confidence)
    ids = np.concatenate([[0], row.class_ids]).astype(np.uint8)
    return ids[_crf(row, probabilities, settings=settings).argmax(0)]


def _crf(row: ImageRow, probabilities: np.ndarray, *, settings: RefineSettings) -> np.ndarray:
    """Probabilities (K, H, W) float32, refined if the settings say so."""
    if settings.refine == "none":
        return probabilities
    return dense_crf(read_indexed_image(row), probabilities, parameters=crf_parameters(settings.crf))
