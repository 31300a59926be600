"""Stage: instances from peaks and proposals, or from the components of masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsss.files.cues import read_saliency
from wsss.files.errors import ArtefactError
from wsss.files.imaging import resize_maps
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.json_files import ShardProposals, read_checked
from wsss.files.rle import pack, unpack
from wsss.files.store import MapReader, MapRecord, MapSet
from wsss.files.text_files import write_json
from wsss.runtime.console import log, progress, warn
from wsss.settings.sections import RetrievalSection
from wsss.settings.stage_settings import RetrievalSettings
from wsss.stages.instances.retrieval import background, components, retrieval_scores, split_components, suppress


@dataclass(frozen=True, kw_only=True)
class Found:
    """Instances of one image, best first.

    Attributes:
        masks: (N, H, W) bool.
        class_ids: (N,) int64.
        scores: (N,) float, the confidence.
    """

    masks: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray


def retrieve_instances(
    *,
    index: Path,
    shard: Path,
    responses: list[Path],
    proposals: list[Path],
    masks: list[Path],
    fused: list[Path],
    saliency: Path | None = None,
    settings: RetrievalSettings,
    output: Path,
) -> None:
    """Find the instances of one shard, each with class and confidence.

    Route proposals: each peak takes the proposal with the highest retrieval score, which is the confidence; then
    non-maximum suppression. Route components: the components of each class's mask; the confidence is the peak's value,
    or without peaks the largest fused score inside.

    Args:
        index: The data set's index.csv.
        shard: The shard's list of images.
        responses: Peaks and response maps of the shard; none for a method without them.
        proposals: The shard's proposals, for the route proposals.
        masks: Store files with `mask`, for the route components.
        fused: The shard's fused scores, for components without peaks.
        saliency: The shard's saliency maps, for the background saliency.
        settings: Route and weights.
        output: JSON: image_id to a list of {category_id, segmentation, score}, best first.

    Raises:
        ArtefactError: If an input is missing, damaged or does not fit.
        ValueError: If the route lacks its inputs.
    """
    by_proposals = settings.route == "proposals"
    with_saliency = by_proposals and settings.retrieval.background == "saliency"
    given = {"responses": responses, "proposals": proposals, "masks": masks, "fused": fused, "saliency": saliency}
    _check_inputs(by_proposals, with_saliency, {name for name, paths in given.items() if paths})
    run_lengths: Mapping[str, Any] = read_checked(proposals[0], ShardProposals) if by_proposals else {}
    peaks, scores = (MapReader(paths[0]) if paths else None for paths in (responses, fused))
    cues = MapReader(saliency) if with_saliency and saliency else None
    found: dict[str, Any] = {}
    with MapSet(masks) as store:
        for row in progress(ImageIndex(index).shard(shard), what="instances"):
            record = peaks.read(row.image_id) if peaks else None
            if by_proposals:
                assert record is not None
                dull = read_saliency(cues, row) < settings.retrieval.saliency_threshold if cues else None
                candidates = _read_run_lengths(proposals[0], run_lengths, row)
                picked = by_proposal(row, record, candidates, settings.retrieval, dull=dull)
            else:
                mask = store.read(row.image_id, "mask")["mask"]
                planes = scores.read(row.image_id, "scores") if scores and not record else None
                picked = by_component(row, mask, record, planes, min_area=settings.min_area)
            found[row.image_id] = entries(picked)
    write_json(output, found)
    log.info("%d instances on %d images", sum(map(len, found.values())), len(found))
    if empty := sum(not v for v in found.values()):
        warn("%s: %d of %d images have no instance", output, empty, len(found))


def _check_inputs(by_proposals: bool, with_saliency: bool, given: set[str]) -> None:
    """Refuse a route without what it reads."""
    if by_proposals and not {"responses", "proposals"} <= given:
        raise ValueError(
            "retrieve_instances: the route proposals needs responses and proposals; give both, or the route components"
        )
    if not by_proposals and not ("masks" in given and {"responses", "fused"} & given):
        raise ValueError("retrieve_instances: the route components needs masks, and responses or fused scores")
    if with_saliency and "saliency" not in given:
        raise ValueError(
            "retrieve_instances: instances.retrieval.background is saliency, but there is none; "
            "set saliency.kind, or background to map"
        )


def by_proposal(
    row: ImageRow, record: MapRecord, masks: np.ndarray, weights: RetrievalSection, *, dull: np.ndarray | None = None
) -> Found:
    """Take the best proposal of each peak, after suppression.

    Args:
        row: The image.
        record: Its `peak`, `response` and `map`, as respond_peaks stores them.
        masks: (S, H, W) bool, its proposals.
        weights: Weights of the retrieval score, and suppression.
        dull: (H, W) bool, pixels that are background of every class in addition; None: none.
    """
    size = (row.height, row.width)
    peaks, responses = image_responses(record, size=size)
    class_ids = peaks[:, 0].astype(np.int64)
    if not len(masks) or not len(peaks):
        return Found(masks=np.zeros((0, *size), np.bool_), class_ids=np.zeros(0, np.int64), scores=np.zeros(0))
    factor, maps = weights.background_factor, zip(record.class_ids, record["map"], strict=True)
    planes = {int(c): background(plane, size=size, factor=factor) for c, plane in maps}  # (H, W) bool by class
    backgrounds = np.stack([planes[int(c)] if dull is None else planes[int(c)] | dull for c in class_ids])
    scores = retrieval_scores(
        responses, backgrounds, masks, instance=weights.instance, boundary=weights.boundary,
        class_penalty=weights.class_penalty, contour_width=weights.contour_width,
    )  # (P, S)  # fmt: skip
    best = scores.argmax(1)  # (P,)
    values = scores[np.arange(len(best)), best]
    kept = suppress(masks[best], values, class_ids, overlap=weights.overlap, within_class=weights.within_class)
    return Found(masks=masks[best[kept]], class_ids=class_ids[kept], scores=values[kept])


def by_component(
    row: ImageRow, mask: np.ndarray, record: MapRecord | None, fused: MapRecord | None, *, min_area: float
) -> Found:
    """Take the components of each class of a mask: split by peaks, or whole if no peaks are known.

    Args:
        row: The image.
        mask: (H, W) uint8.
        record: Its `peak` and `response`, as respond_peaks stores them; None for a method without peaks.
        fused: Its fused `scores` (K, h, w), needed without peaks.
        min_area: Smallest share of the image.
    """
    size = (row.height, row.width)
    if mask.shape != size:
        raise ArtefactError(
            f"image {row.image_id}: the mask is {mask.shape}, the index says {size} (height, width); rerun refine_masks"
        )
    least = min_area * mask.size
    parts: list[tuple[np.ndarray, int, float]] = []  # mask, class, confidence
    if record is not None:
        peaks, responses = image_responses(record, size=size)
        for c in row.class_ids.astype(int):
            own = np.flatnonzero(peaks[:, 0] == c)
            split = split_components(mask == c, [(peaks[k, 1], peaks[k, 2]) for k in own], responses[own])
            parts += [(part, int(c), float(peaks[own[k], 3])) for part, k in split]
    else:
        assert fused is not None
        planes = dict(zip(fused.class_ids.tolist(), resize_maps(fused["scores"], size=size), strict=True))
        for c in row.class_ids.astype(int):
            parts += [(part, int(c), float(planes[c][part].max())) for part in components(mask == c)]
    parts = sorted((p for p in parts if p[0].sum() >= least), key=lambda p: -p[2])
    return Found(
        masks=np.array([p[0] for p in parts], np.bool_).reshape(-1, *size),
        class_ids=np.array([p[1] for p in parts], np.int64),
        scores=np.array([p[2] for p in parts]),
    )


def image_responses(record: MapRecord, *, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the peaks (P, 4) and response maps (P, H, W) of a stored record, float32; each map has sum 1.

    Raises:
        ArtefactError: If the maps are of another size.
    """
    peaks, flat = record["peak"].astype(np.float32), record["response"].astype(np.float32)
    if flat.shape[1:] != (size[0] * size[1],):
        raise ArtefactError(
            f"image {record.image_id}: responses have {flat.shape[1]} px, the index says {size} (height, width); "
            "rerun respond_peaks"
        )
    return peaks, (flat / flat.sum(1, keepdims=True).clip(min=1e-12)).reshape(-1, *size)


def entries(found: Found) -> list[dict[str, Any]]:
    """Make the JSON entries of an image's instances."""
    packed = pack(found.masks)
    return [
        {"category_id": int(c), "segmentation": p, "score": float(s)}
        for c, p, s in zip(found.class_ids, packed, found.scores, strict=True)
    ]


def _read_run_lengths(path: Path, run_lengths: Mapping[str, Any], row: ImageRow) -> np.ndarray:
    """(S, H, W) bool, the image's proposals."""
    if row.image_id not in run_lengths:
        raise ArtefactError(f"{path}: no proposals of image {row.image_id}; delete it and rerun propose_masks")
    try:
        return unpack(run_lengths[row.image_id], size=(row.height, row.width))
    except ValueError as error:
        raise ArtefactError(f"{path}: image {row.image_id}: {error}; delete it and rerun propose_masks") from None
