"""Stage: peaks of the present classes, and the pixels that each responds to.

Shape legend: P peaks, C classes, K present classes, H×W image, h×w score grid, h'×w' grid of the peaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F

from wsss.files.imaging import Normalisation, normalise, read_indexed_image, resize_image
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.store import MapWriter
from wsss.methods import PeakMethod
from wsss.nets.topdown import response_maps
from wsss.runtime.console import log, progress
from wsss.runtime.processes import map_blocks
from wsss.settings.sections import ComputeSection
from wsss.settings.stage_settings import ResponseSettings
from wsss.training.classifiers import restore_classifier
from wsss.training.loop import evaluating, pick_device

LARGEST = float(np.finfo(np.float16).max)
"""Largest stored density of a response."""
LEAST_SIDE = 32
"""Smallest side in px that an image is scaled to."""


def respond_peaks(
    *, index: Path, shard: Path, classifier: Path, settings: ResponseSettings, compute: ComputeSection, output: Path
) -> None:
    """Find the peaks of one shard and their response maps. Those of an image are by class, then highest peak first.

    Args:
        index: The data set's index.csv.
        shard: The shard's list of images.
        classifier: The method's network.
        settings: Method kind, backbone, scale.
        compute: Device. Without a GPU, `workers` processes with one thread each share the images; this does not change
            results.
        output: Store file with three arrays, all float16. `peak` (P, 4): class id, y, x (px of the image), value.
            `response` (P, H W): the maps row by row, times H W, so that an even response is 1. `map` (K, h, w): the raw
            class maps.

    Raises:
        ArtefactError: If an input is missing or damaged.
        ValueError: If peak back-propagation cannot go through the network.
    """
    data = ImageIndex(index)
    rows = data.shard(shard)
    device = pick_device(compute)
    single = compute.model_copy(update={"device": device.type, "threads": 1})  # the tensors are too small for more
    names = data.class_names
    trace = partial(_trace_block, class_names=names, classifier=classifier, settings=settings, compute=single)
    found = 0
    with MapWriter(output, stage="respond_peaks", settings=settings.model_dump(mode="json")) as writer:
        traced = map_blocks(trace, rows, workers=compute.workers) if device.type == "cpu" else trace(rows)
        for row, arrays in zip(rows, progress(traced, what="peaks", total=len(rows)), strict=True):
            writer.write(row.image_id, row.class_ids, **arrays)
            found += len(arrays["peak"])
    log.info("%d peaks on %d images", found, len(rows))


def _trace_block(
    rows: Sequence[ImageRow],
    *,
    class_names: list[str],
    classifier: Path,
    settings: ResponseSettings,
    compute: ComputeSection,
) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of each row as they are stored; opens the network once."""
    method, model, device = restore_classifier(
        classifier, class_names=class_names, settings=settings, round=1, compute=compute
    )
    with evaluating(model):
        for row in rows:
            arrays = image_peaks(cast(PeakMethod, method), model, row, scale=settings.scale, device=device)
            yield {name: a.astype(np.float16) for name, a in arrays.items()}


def image_peaks(
    method: PeakMethod, model: torch.nn.Module, row: ImageRow, *, scale: float, device: torch.device
) -> dict[str, np.ndarray]:
    """Find peaks, responses and class maps of one image: the arrays that `respond_peaks` stores, as float32."""
    image_u8, size = read_indexed_image(row), (row.height, row.width)
    scaled_size = (max(LEAST_SIDE, round(row.height * scale)), max(LEAST_SIDE, round(row.width * scale)))
    scaled = image_u8 if scale == 1 else resize_image(image_u8, size=scaled_size)
    normalisation: Normalisation = model.backbone.normalisation  # type: ignore[union-attr,assignment]
    image_n = torch.from_numpy(normalise(scaled, normalisation)).to(device)  # (3, H, W), scaled
    maps: torch.Tensor = model(image_n[None].contiguous(memory_format=torch.channels_last))  # (1, C, h, w)
    fine, peaks = method.traced_peaks(maps)
    planes, raw, channels = fine[0], maps[0], row.class_ids.astype(int) - 1  # (C, h', w'), (C, h, w), (K,)
    places = _ordered_peaks(planes, peaks[0], channels)
    starts = planes.new_zeros(len(places), *planes.shape)  # (P, C, h', w')
    for k, place in enumerate(places):
        starts[(k, *place)] = 1
    responses = response_maps(method.responses(model, image_n, starts))  # (P, H, W), scaled
    if responses.shape[1:] != size and len(places):
        responses = response_maps(F.interpolate(responses[None], size, mode="area" if scale >= 1 else "bilinear")[0])
    pixels = size[0] * size[1]
    density = (responses * pixels).clamp(max=LARGEST)
    entries = [
        (c + 1, *_pixel((y, x), planes.shape[1:], raw.shape[1:], size), float(planes[c, y, x])) for c, y, x in places
    ]
    return {
        "peak": np.array(entries, np.float32).reshape(-1, 4),
        "response": density.cpu().numpy().reshape(len(places), pixels),
        "map": raw[channels.tolist()].cpu().numpy(),
    }


def _ordered_peaks(planes: torch.Tensor, peaks: torch.Tensor, channels: np.ndarray) -> list[tuple[int, int, int]]:
    """(channel, y, x) of the peaks (C, h', w') bool of some channels, highest value of `planes` (C, h', w') first."""
    places: list[tuple[int, int, int]] = []
    for c in channels:
        cells = peaks[c].nonzero()  # (peaks of c, 2)
        order = planes[c][tuple(cells.T)].argsort(descending=True, stable=True)
        places += [(int(c), y, x) for y, x in cells[order].tolist()]
    return places


def _pixel(place: tuple[int, int], fine: torch.Size, cells: torch.Size, size: tuple[int, int]) -> tuple[float, float]:
    """(y, x) in px of a place on the finer grid, whose corners are the centres of the corner cells.

    Args:
        place: (y, x) on the finer grid.
        fine: (h', w') of that grid.
        cells: (h, w) of the score grid.
        size: (H, W) of the image.
    """
    at = (p * (c - 1) / max(f - 1, 1) for p, f, c in zip(place, fine, cells, strict=True))
    y, x = ((cell + 0.5) * side / count - 0.5 for cell, side, count in zip(at, size, cells, strict=True))
    return min(max(y, 0.0), size[0] - 1.0), min(max(x, 0.0), size[1] - 1.0)
