"""Stage: masks (seeds, pseudo masks, predictions) against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsss.artefacts import IGNORE, METRIC_COLUMNS, ImageIndex, ImageRow, write_csv
from wsss.console import log, progress, warn
from wsss.evaluate.confusion import confusion, figures
from wsss.imaging import read_mask
from wsss.sections import RowKeys
from wsss.store import MapSet

LEAST_IMAGES = 4
"""Below this, an all-background result may be true."""


def measure_masks(*, index: Path, maps: list[Path], row: RowKeys, output: Path) -> None:
    """Compare the masks of a split with the truth.

    Args:
        index: The data set's index.csv.
        maps: Store files with `mask` (H, W) uint8, all shards.
        row: Identifying columns of the rows.
        output: CSV of metric rows; docs/METRICS.md lists them.

    Raises:
        ArtefactError: If an input is missing or damaged.
    """
    data = ImageIndex(index)
    store = MapSet(maps)
    split = data.split(row.split or "train")
    rows = [r for r in split if r.measured and r.mask]
    matrix = np.zeros((data.num_classes + 1, data.num_classes + 2), np.int64)
    context = Context(data.num_classes)
    seen = np.zeros(256, np.int64)
    for image in progress(split, what="masks"):
        guess = store.read(image.image_id, "mask")["mask"]
        seen += np.bincount(guess.ravel(), minlength=256)
        if image.measured and image.mask:
            truth = read_mask(image.mask)
            matrix += confusion(truth, guess, num_classes=data.num_classes)
            context.add(image, truth, guess)
    base = row.model_dump(mode="json")
    out: list[dict[str, Any]] = [{**base, "metric": "images", "value": len(rows)}]
    if rows:
        out += mask_rows(matrix, base=base, class_names=data.class_names, context=context)
    else:
        log.warning("no image of this split has a truth mask: nothing is measured")
    out += _warnings(seen, base=base, images=len(split), class_names=data.class_names)
    write_csv(output, METRIC_COLUMNS, out)


class Context:
    """How much of the co-occurring background is taken for its class (EPS's train and rails).

    confusion_ratio = pixels of the context masks guessed as the class / pixels of the class guessed as the class. The class is the one that is present in most pictures with context.
    """

    def __init__(self, num_classes: int) -> None:
        """No picture yet.

        Args:
            num_classes: C.
        """
        self._wrong, self._right, self._present = (np.zeros(num_classes + 1, np.int64) for _ in range(3))

    def add(self, image: ImageRow, truth: np.ndarray, guess: np.ndarray) -> None:
        """Count one image, if it has a context mask that is not empty."""
        if image.context is None:
            return
        n = len(self._right)
        self._right += np.bincount(truth[(truth == guess) & (truth < n)], minlength=n)[:n]
        mask = read_mask(image.context) > 0
        if mask.any():
            self._wrong += np.bincount(guess[mask & (guess < n)], minlength=n)[:n]
            self._present[image.class_ids] += 1

    def ratio(self) -> tuple[int, float] | None:
        """(class, confusion ratio), or None without context masks or without a right pixel."""
        c = int(self._present.argmax())
        return (c, float(self._wrong[c] / self._right[c])) if self._present[c] and self._right[c] else None


def mask_rows(matrix: np.ndarray, *, base: dict[str, Any], class_names: list[str], context: Context) -> list[dict[str, Any]]:
    """Metric rows of a confusion matrix.

    Args:
        matrix: (C + 1, C + 2) counts.
        base: Identifying columns.
        class_names: By id, background first.
        context: Counts on context masks.

    Returns:
        Rows for metrics.csv.
    """
    f, labelled = figures(matrix), figures(matrix, labelled_only=True)
    named = {
        "miou": f["miou"], "miou_labelled": labelled["miou"], "coverage": f["coverage"], "precision": f["mean_precision"], "recall": f["mean_recall"],
        "precision_labelled": labelled["mean_precision"], "pixel_accuracy": f["pixel_accuracy"],
    }  # fmt: skip
    rows = [{**base, "metric": name, "value": value} for name, value in named.items()]
    for metric in ("iou", "precision", "recall"):
        values = f[metric]
        assert isinstance(values, np.ndarray)
        rows += [{**base, "metric": metric, "class": n, "value": v} for n, v in zip(class_names, values, strict=True) if not np.isnan(v)]
    if found := context.ratio():
        rows.append({**base, "metric": "confusion_ratio", "class": class_names[found[0]], "value": found[1]})
    return rows


def _warnings(seen: np.ndarray, *, base: dict[str, Any], images: int, class_names: list[str]) -> list[dict[str, Any]]:
    """Rows and loud words for results that are probably a silent failure."""
    if images < LEAST_IMAGES:
        return []
    what = " ".join(str(base[k]) for k in ("method", "variant", "stage") if base[k])
    foreground = np.flatnonzero(seen[1:IGNORE]) + 1
    rows = []
    if len(foreground) == 0:
        warn("%s: all %d masks are background or ignore: check thresholds, saliency and the losses of the stages before", what, images)
        rows.append({**base, "metric": "warning_all_background", "value": 1})
    elif len(foreground) == 1 and len(class_names) > 2:
        warn("%s: the %d masks hold no class but %s: check the stages before", what, images, class_names[foreground[0]])
        rows.append({**base, "metric": "warning_single_class", "value": 1})
    missing = [n for k, n in enumerate(class_names[1:], 1) if not seen[k]]
    if rows == [] and missing:
        log.warning("%s: no pixel of %s", what, ", ".join(missing))
        rows += [{**base, "metric": "warning_empty_class", "class": n, "value": 1} for n in missing]
    return rows
