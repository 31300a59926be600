"""Stage refine_masks: dense CRF and label filter make the masks that train a segmenter."""

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

    Only background and the classes that the image's labels name can occur in the result. If `masks` holds probabilities (a segmenter's predictions), the other classes are left
    out before anything is decided, and the CRF starts from the rest. If it holds masks alone (seeds), pixels of other classes become 255, and the CRF starts from the hard labels
    (255 is uniform, so the CRF decides there). With refine none, the CRF is left out.

    Writes array `mask` (H, W) uint8 at image size, class_ids: the image's classes.

    Args:
        index: dataset/index.csv.
        shard: Shard file that lists the images.
        masks: Store file with `mask` (H, W), and `probs` (K, h, w) with class_ids [0, ...] where it comes from predict_masks.
        settings: Whether and how to refine.
        workers: Processes; does not change results.
        output: Store file to write.

    Raises:
        ValueError: If a map does not fit its image, or all masks come out without a class.
    """
    look_at = f"pseudo.seed (thresholds, cue), saliency.kind and pseudo.crf (settings: {settings.model_dump()}), and the metrics of the stage that made {masks}"
    guard = BackgroundGuard(stage="refine_masks", look_at=look_at)
    rows = ImageIndex(index).shard(shard)
    MapReader(masks).close()  # a missing or damaged file is said before processes start
    with MapWriter(output, stage="refine_masks", settings=settings.model_dump()) as writer:
        refined = map_blocks(partial(_refine_block, masks=masks, settings=settings), rows, workers=workers)
        for row, mask in zip(rows, progress(refined, what="refine_masks", total=len(rows)), strict=True):
            guard.add(mask, row.class_ids)
            writer.write(row.image_id, row.class_ids, mask=mask)
        guard.check()


def _refine_block(rows: Sequence[ImageRow], *, masks: Path, settings: RefineSettings) -> Iterator[np.ndarray]:
    """(H, W) uint8 for each row; opens the store once."""
    with MapReader(masks) as reader:
        for row in rows:
            record = reader.read(row.image_id)
            yield (
                _refine_probabilities(row, record, settings=settings)
                if "probs" in record.arrays
                else _refine_labels(row, record["mask"], settings=settings)
            )


def _refine_probabilities(row: ImageRow, record: MapRecord, *, settings: RefineSettings) -> np.ndarray:
    """From a segmenter's probabilities, restricted to background and the labelled classes."""
    ids = np.concatenate([[0], row.class_ids]).astype(np.uint8)
    if missing := sorted(set(ids.tolist()) - set(record.class_ids.tolist())):
        raise ArtefactError(
            f"image {row.image_id}: probabilities for classes {missing} are missing (found {record.class_ids.tolist()}); rerun predict_masks"
        )
    chosen = record["probs"][[record.class_ids.tolist().index(i) for i in ids]].astype(np.float32)
    probabilities = np.maximum(resize_maps(chosen, size=(row.height, row.width)), 1e-12)
    probabilities = probabilities / probabilities.sum(0)
    return ids[_crf(row, probabilities, settings=settings).argmax(0)]


def _refine_labels(row: ImageRow, mask: np.ndarray, *, settings: RefineSettings) -> np.ndarray:
    """From hard labels."""
    if mask.shape != (row.height, row.width):
        raise ArtefactError(
            f"image {row.image_id}: the mask is {mask.shape}, the index says {(row.height, row.width)} (height, width); rerun the stage that made it"
        )
    filtered = filter_labels(mask, row.class_ids)
    if settings.refine == "none":
        return filtered
    probabilities = label_probabilities(filtered, row.class_ids, confidence=settings.crf.label_confidence)
    return np.concatenate([[0], row.class_ids]).astype(np.uint8)[_crf(row, probabilities, settings=settings).argmax(0)]


def _crf(row: ImageRow, probabilities: np.ndarray, *, settings: RefineSettings) -> np.ndarray:
    """(K, H, W) float32, refined if the settings say so."""
    if settings.refine == "none":
        return probabilities
    return dense_crf(read_indexed_image(row), probabilities, parameters=crf_parameters(settings.crf))
