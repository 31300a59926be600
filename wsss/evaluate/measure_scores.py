"""Stage: score maps against the truth, at every constant background threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsss.artefacts import METRIC_COLUMNS, ImageIndex, write_csv
from wsss.console import log, progress
from wsss.evaluate.confusion import Sweep, figures, max_normalise
from wsss.imaging import read_mask, resize_maps
from wsss.sections import RowKeys, SweepSettings
from wsss.store import MapSet

MAPS = "scores"


def measure_scores(*, index: Path, maps: list[Path], row: RowKeys, settings: SweepSettings, output: Path) -> None:
    """Sweep a constant background threshold over max-normalised score maps.

    Args:
        index: The data set's index.csv.
        maps: Store files with `scores` (K, h, w), all shards.
        row: Identifying columns of the rows.
        settings: The configured threshold and the sweep.
        output: CSV of metric rows: miou at the configured threshold, miou_best at the best one, miou_curve, precision, recall at each, iou per class at the best one.

    Raises:
        ArtefactError: If an input is missing or damaged.
    """
    data = ImageIndex(index)
    store = MapSet(maps)
    grid = np.linspace(0, settings.sweep_max, settings.sweep_steps)
    thresholds = np.unique(np.append(grid, settings.threshold).astype(np.float32))
    sweep = Sweep(data.num_classes, thresholds=thresholds)
    rows = [r for r in data.split(row.split or "train") if r.measured and r.mask]
    for image in progress(rows, what="sweep"):
        record = store.read(image.image_id, MAPS)
        full = max_normalise(resize_maps(record[MAPS].astype(np.float32), size=(image.height, image.width)))
        assert image.mask is not None
        sweep.add(read_mask(image.mask), full, class_ids=record.class_ids)
    base = row.model_dump(mode="json")
    out: list[dict[str, Any]] = [{**base, "metric": "images", "value": len(rows)}]
    if rows:
        out += sweep_rows(sweep, base=base, threshold=np.float32(settings.threshold), class_names=data.class_names)
    else:
        log.warning("no image of this split has a truth mask: nothing is measured")
    write_csv(output, METRIC_COLUMNS, out)


def sweep_rows(sweep: Sweep, *, base: dict[str, Any], threshold: np.float32, class_names: list[str]) -> list[dict[str, Any]]:
    """Metric rows of a filled sweep.

    Args:
        sweep: The counts.
        base: Identifying columns.
        threshold: The configured threshold, one of the sweep's.
        class_names: By id, background first.

    Returns:
        Rows for metrics.csv.
    """
    each = [figures(m) for m in sweep.matrices()]
    miou = np.array([f["miou"] for f in each])
    labels = [f"{t:.4g}" for t in sweep.thresholds]
    best, chosen = int(miou.argmax()), int(np.flatnonzero(sweep.thresholds == threshold)[0])
    rows = [{**base, "metric": "miou", "threshold": labels[chosen], "value": miou[chosen]}, {**base, "metric": "miou_best", "threshold": labels[best], "value": miou[best]}]
    for label, f in zip(labels, each, strict=True):
        named = (("miou_curve", f["miou"]), ("precision", f["mean_precision"]), ("recall", f["mean_recall"]))
        rows += [{**base, "metric": name, "threshold": label, "value": value} for name, value in named]
    iou = each[best]["iou"]
    assert isinstance(iou, np.ndarray)
    rows += [{**base, "metric": "iou", "threshold": labels[best], "class": n, "value": v} for n, v in zip(class_names, iou, strict=True) if not np.isnan(v)]
    return rows
