"""Stage: instances and peaks against the true instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.json_files import read_instances
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.rle import unpack
from wsss.files.store import MapRecord, MapSet
from wsss.files.text_files import write_csv
from wsss.files.truth import true_instances
from wsss.runtime.console import log, progress
from wsss.settings.stage_settings import RowKeys
from wsss.stages.evaluate.instance_metrics import InstanceTally, class_mean, pointing_hits, response_quality

THRESHOLDS = (0.25, 0.5, 0.75)
GOOD = 0.5
"""A response counts as good if a larger share of it is inside one instance."""


def measure_instances(*, index: Path, instances: list[Path], responses: list[Path], row: RowKeys, output: Path) -> None:
    """Compare the instances of a split with the truth.

    Args:
        index: The data set's index.csv.
        instances: What retrieve_instances wrote, all shards.
        responses: What respond_peaks wrote, all shards; none for a method without peaks.
        row: Identifying columns of the rows.
        output: CSV of metric rows; docs/METRICS.md lists them.

    Raises:
        ArtefactError: If an input is missing or damaged, or masks do not fit.
    """
    data = ImageIndex(index)
    found: dict[str, list[dict[str, Any]]] = {}
    for path in instances:
        found |= read_instances(path, num_classes=data.num_classes)
    tally, peaks, measured = InstanceTally(), PeakTally(data.num_classes), 0
    with MapSet(responses) as store:
        for image in progress(data.split(row.split), what="instances"):
            if not (image.measured and image.mask and image.instances):
                continue
            truth, truth_class_ids, void = true_instances(image)
            masks, class_ids, scores = _detections(image, found, instances)
            tally.add(masks, class_ids, scores, truth=truth, truth_class_ids=truth_class_ids, void=void)
            if responses:
                peaks.add(store.read(image.image_id, "peak", "response"), masks=truth, class_ids=truth_class_ids)
            measured += 1
    base = row.model_dump(mode="json")
    out: list[dict[str, Any]] = [{**base, "metric": "images", "value": measured}]
    if measured:
        out += instance_rows(tally, base=base, class_names=data.class_names) + peaks.rows(base)
    else:
        log.warning("no image of this split has true instances: nothing is measured")
    write_csv(output, METRIC_COLUMNS, out)


def _detections(
    image: ImageRow, found: Mapping[str, list[dict[str, Any]]], files: Sequence[Path]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks (D, H, W) bool, class ids (D,) and scores (D,) of an image's instances."""
    names = ", ".join(map(str, files))
    if image.image_id not in found:
        raise ArtefactError(f"image {image.image_id} is in none of {names}; delete these files and rerun")
    entries = found[image.image_id]
    try:
        masks = unpack([e["segmentation"] for e in entries], size=(image.height, image.width))
    except ValueError as error:
        raise ArtefactError(
            f"image {image.image_id}: {error}; in one of {names}: `snakemake FILE --forcerun FILE` makes it again"
        ) from None
    return masks, np.array([e["category_id"] for e in entries], int), np.array([e["score"] for e in entries], float)


class PeakTally:
    """Where peaks point, and how much of their responses is inside one instance."""

    def __init__(self, num_classes: int) -> None:
        """No image yet."""
        self.hits: dict[int, list[bool]] = {c: [] for c in range(1, num_classes + 1)}
        self.good: list[bool] = []
        self.images = 0

    def add(self, record: MapRecord, *, masks: np.ndarray, class_ids: np.ndarray) -> None:
        """Count one image.

        The highest peak of each class is compared with the boxes of its instances, every response with its instances.

        Args:
            record: `peak` (P, 4): class id, y, x, score; `response` (P, H W).
            masks: (G, H, W) bool, the true instances.
            class_ids: (G,).
        """
        self.images += 1
        peak, response = record["peak"].astype(float), record["response"].astype(np.float32)
        for c in np.unique(peak[:, 0]).astype(int):
            own = np.flatnonzero(peak[:, 0] == c)
            highest = own[peak[own, 3].argmax()]
            places = [np.nonzero(mask) for mask in masks[class_ids == c]]
            boxes = [(int(y.min()), int(x.min()), int(y.max()), int(x.max())) for y, x in places]
            self.hits[c] += pointing_hits([(peak[highest, 1], peak[highest, 2])], boxes)
            truth, size = masks[class_ids == c], masks.shape[1:]
            self.good += [response_quality(response[k].reshape(size), truth) > GOOD for k in own]

    def rows(self, base: dict[str, Any]) -> list[dict[str, Any]]:
        """Metric rows; none without peaks."""
        if not self.good:
            return []
        pointing = class_mean({c: float(np.mean(hits)) for c, hits in self.hits.items() if hits})
        named = {
            "pointing": pointing,
            "response_quality": float(np.mean(self.good)),
            "peaks_an_image": len(self.good) / self.images,
        }
        return [{**base, "metric": name, "value": value} for name, value in named.items()]


def instance_rows(tally: InstanceTally, *, base: dict[str, Any], class_names: list[str]) -> list[dict[str, Any]]:
    """Make the metric rows of AP^r at each threshold and of the best overlaps."""
    rows = []
    for threshold in THRESHOLDS:
        each = tally.average_precisions(threshold)
        rows.append({**base, "metric": "map_r", "threshold": threshold, "value": class_mean(each)})
        rows += [
            {**base, "metric": "ap_r", "threshold": threshold, "class": class_names[c], "value": v}
            for c, v in each.items()
        ]
    best = tally.best_overlaps()
    if best:
        rows.append({**base, "metric": "abo", "value": class_mean({c: float(v.mean()) for c, v in best.items()})})
        rows.append({**base, "metric": "abo_instances", "value": float(np.concatenate(list(best.values())).mean())})
    return rows
