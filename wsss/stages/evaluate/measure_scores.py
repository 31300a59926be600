"""Stage: score maps against the truth, at every constant background threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_mask, resize_maps
from wsss.files.index import ImageIndex
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.store import MapSet
from wsss.files.text_files import write_csv
from wsss.runtime.console import log, progress, warn
from wsss.settings.stage_settings import RowKeys, SweepSettings
from wsss.stages.evaluate.confusion import Sweep, figures, max_normalise_irn

LEAST_IMAGES = 4
"""Below this, an all-background result may be true."""


def measure_scores(*, index: Path, maps: list[Path], row: RowKeys, settings: SweepSettings, output: Path) -> None:
    """Sweep a constant background threshold over max-normalised score maps.

    Args:
        index: The data set's index.csv.
        maps: Store files with `scores` (K, h, w), all shards.
            A background map (class 0) is left out: the threshold stands for it.
        row: Identifying columns of the rows; `split` says which images.
        settings: The configured threshold and the sweep.
        output: CSV of metric rows: miou at the configured threshold and miou_best at the best one, iou of each class
            at these two; miou_curve, precision and recall at every threshold.

    Raises:
        ArtefactError: If an input is missing or damaged, or a truth mask does not fit.
    """
    data = ImageIndex(index)
    rows = [r for r in data.split(row.split) if r.measured and r.mask]
    grid = np.linspace(0, settings.sweep_max, settings.sweep_steps)
    sweep = Sweep(data.num_classes, thresholds=np.unique(np.append(grid, settings.threshold).astype(np.float32)))
    with MapSet(maps) as store:
        for image in progress(rows, what="sweep"):
            record = store.read(image.image_id, "scores")
            foreground = record.class_ids > 0
            raw = record["scores"][foreground].astype(np.float32)
            full = max_normalise_irn(resize_maps(raw, size=(image.height, image.width)))
            assert image.mask is not None
            try:
                sweep.add(read_mask(image.mask), full, class_ids=record.class_ids[foreground])
            except ValueError as error:
                raise ArtefactError(f"{image.mask}: {error}; repair the mask and rerun index_images") from None
    base = row.model_dump(mode="json")
    out: list[dict[str, Any]] = [{**base, "metric": "images", "value": len(rows)}]
    if rows:
        out += sweep_rows(sweep, base=base, threshold=settings.threshold, class_names=data.class_names)
    else:
        log.warning("no image of this split has a truth mask: nothing is measured")
    if len(rows) >= LEAST_IMAGES and not sweep.matrices()[0][:, 1:].any():
        warn(
            "%s %s: no score of %d images is above the lowest threshold: check the classifier's training log",
            row.method,
            row.stage,
            len(rows),
        )
        out.append({**base, "metric": "warning_all_background", "value": 1})
    write_csv(output, METRIC_COLUMNS, out)


def sweep_rows(sweep: Sweep, *, base: dict[str, Any], threshold: float, class_names: list[str]) -> list[dict[str, Any]]:
    """Make the metric rows of a filled sweep.

    Args:
        sweep: The counts.
        base: Identifying columns.
        threshold: The configured threshold, one of the sweep's (as float32).
        class_names: By id, background first.

    Returns:
        Rows for metrics.csv. Of thresholds that are equally good the lowest is the best.
    """
    each = [figures(m) for m in sweep.matrices()]
    miou = np.array([f["miou"] for f in each])
    texts = [str(t) for t in sweep.thresholds]  # the shortest text that is this float32 and no other
    best, chosen = int(miou.argmax()), int(np.flatnonzero(sweep.thresholds == np.float32(threshold))[0])
    rows = [
        {**base, "metric": name, "threshold": texts[k], "value": miou[k]}
        for name, k in (("miou", chosen), ("miou_best", best))
    ]
    for text, f in zip(texts, each, strict=True):
        named = {"miou_curve": f["miou"], "precision": f["mean_precision"], "recall": f["mean_recall"]}
        rows += [{**base, "metric": name, "threshold": text, "value": value} for name, value in named.items()]
    for k in dict.fromkeys((chosen, best)):
        iou = each[k]["iou"]
        assert isinstance(iou, np.ndarray)
        rows += [
            {**base, "metric": "iou", "threshold": texts[k], "class": name, "value": value}
            for name, value in zip(class_names, iou, strict=True)
            if not np.isnan(value)
        ]
    return rows
