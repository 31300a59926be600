"""Stage: masks (seeds, pseudo masks, predictions) against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_mask
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.mask_values import IGNORE
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.store import MapSet
from wsss.files.text_files import write_csv
from wsss.runtime.console import log, progress, warn
from wsss.settings.stage_settings import RowKeys
from wsss.stages.evaluate.confusion import confusion, figures

COMPLETE = "prediction"
"""The stage whose masks never hold 255."""
LEAST_IMAGES = 4
"""Below this, an all-background or single-class result may be true."""


def measure_masks(*, index: Path, maps: list[Path], row: RowKeys, output: Path) -> None:
    """Compare the masks of a split with the truth.

    Args:
        index: The data set's index.csv.
        maps: Store files with `mask` (H, W) uint8, all shards.
        row: Identifying columns of the rows; `split` says which images, and stage prediction that no mask holds 255.
        output: CSV of metric rows; docs/METRICS.md lists them.

    Raises:
        ArtefactError: If an input is missing or damaged, or masks do not fit.
    """
    data = ImageIndex(index)
    split = data.split(row.split)
    tally = Tally(data.num_classes)
    seen = np.zeros(256, np.int64)
    measured = 0
    with MapSet(maps) as store:
        for image in progress(split, what="masks"):
            guess = store.read(image.image_id, "mask")["mask"]
            seen += np.bincount(guess.ravel(), minlength=256)
            if row.stage == COMPLETE and seen[IGNORE]:
                raise ArtefactError(
                    f"image {image.image_id}: the prediction holds {IGNORE} (no answer), expected a class everywhere; "
                    "delete the predictions and rerun predict_masks"
                )
            if image.measured and image.mask:
                tally.add(image, guess)
                measured += 1
    base = row.model_dump(mode="json")
    out: list[dict[str, Any]] = [{**base, "metric": "images", "value": measured}]
    if measured:
        out += mask_rows(tally, base=base, class_names=data.class_names, complete=row.stage == COMPLETE)
    else:
        log.warning("no image of this split has a truth mask: nothing is measured")
    out += warning_rows(seen, split, base=base, class_names=data.class_names)
    write_csv(output, METRIC_COLUMNS, out)


class Tally:
    """Counts over images.

    They are the confusion matrix, and what is guessed on the co-occurring background, as EPS does for train and rails.

    Attributes:
        matrix: (C + 1, C + 2) int64, rows truth, the last column 255.
        on_context: (C + 1,) int64, background pixels of the context masks by guess.
        with_context: (C + 1,) int64, images of each class whose context mask is not empty.
    """

    def __init__(self, num_classes: int) -> None:
        """No image yet.

        Args:
            num_classes: C.
        """
        self.matrix = np.zeros((num_classes + 1, num_classes + 2), np.int64)
        self.on_context, self.with_context = (np.zeros(num_classes + 1, np.int64) for _ in range(2))

    def add(self, image: ImageRow, guess: np.ndarray) -> None:
        """Count one image.

        Args:
            image: A row with a truth mask.
            guess: (H, W) uint8.

        Raises:
            ArtefactError: If sizes differ or a mask holds illegal values.
        """
        assert image.mask is not None
        truth = read_mask(image.mask)
        try:
            self.matrix += confusion(truth, guess, num_classes=len(self.on_context) - 1)
        except ValueError as error:
            raise ArtefactError(f"image {image.image_id}: {error}; truth: {image.mask}") from None
        if image.context is None:
            return
        context = read_mask(image.context) > 0
        if context.shape != truth.shape:
            raise ArtefactError(
                f"{image.context}: (height, width) {context.shape}, but the truth mask has {truth.shape}; "
                "repair it and rerun index_images"
            )
        if context.any():
            self.on_context += np.bincount(guess[context & (truth == 0)], minlength=256)[: len(self.on_context)]
            self.with_context[image.class_ids] += 1

    def confusion_ratio(self) -> tuple[int, float] | None:
        """Compute EPS's measure of co-occurrence: context pixels guessed as a class over its rightly guessed pixels.

        Returns:
            (class, ratio). The ratio is at least 0 and may exceed 1. The class is the one in most images whose context
            mask is not empty, the lowest of equals. None without such an image, or without a right pixel.
        """
        k = int(self.with_context.argmax())
        right = int(self.matrix[k, k])
        return (k, float(self.on_context[k] / right)) if self.with_context[k] and right else None


def mask_rows(tally: Tally, *, base: dict[str, Any], class_names: list[str], complete: bool) -> list[dict[str, Any]]:
    """Make the metric rows of the counts.

    Args:
        tally: At least one image.
        base: Identifying columns.
        class_names: By id, background first.
        complete: Whether the masks never hold 255; then the metrics about it are left out.

    Returns:
        Rows for metrics.csv.
    """
    f, labelled = figures(tally.matrix), figures(tally.matrix, labelled_only=True)
    named = {"miou": f["miou"], "precision": f["mean_precision"], "recall": f["mean_recall"]}
    named["pixel_accuracy"] = f["pixel_accuracy"]
    if not complete:
        named |= {"miou_labelled": labelled["miou"], "precision_labelled": labelled["mean_precision"]}
        named["coverage"] = f["coverage"]
    rows = [{**base, "metric": name, "value": value} for name, value in named.items()]
    for metric in ("iou", "precision", "recall"):
        values = f[metric]
        assert isinstance(values, np.ndarray)
        rows += [
            {**base, "metric": metric, "class": n, "value": v}
            for n, v in zip(class_names, values, strict=True)
            if not np.isnan(v)
        ]
    if found := tally.confusion_ratio():
        rows.append({**base, "metric": "confusion_ratio", "class": class_names[found[0]], "value": found[1]})
    return rows


def warning_rows(
    seen: np.ndarray, images: list[ImageRow], *, base: dict[str, Any], class_names: list[str]
) -> list[dict[str, Any]]:
    """Find results that are probably a silent failure, and warn of them.

    They are: all background, one class for several, nothing of a class that the image-level labels name.

    Args:
        seen: (256,) pixels by guess, over all images with or without truth.
        images: All images of the split.
        base: Identifying columns.
        class_names: By id, background first.

    Returns:
        Rows for metrics.csv: warning_all_background or warning_single_class (value 1), else one
        warning_empty_class a class (value: images that name it).
    """
    labels = [image.labels for image in images]
    named = np.sum(labels, axis=0, dtype=int) if images else np.zeros(len(class_names) - 1, int)  # images by class
    expected = np.flatnonzero(named) + 1
    if len(images) < LEAST_IMAGES or not len(expected):
        return []
    what = " ".join(str(base[k]) for k in ("method", "variant", "stage", "split") if base[k])
    guessed = np.flatnonzero(seen[1:IGNORE]) + 1
    if len(guessed) == 0:
        advice = "check thresholds, saliency and the losses of the stages before"
        warn("%s: all %d masks are background or unlabelled: %s", what, len(images), advice)
        return [{**base, "metric": "warning_all_background", "value": 1}]
    advice = "check the stages before"
    if len(guessed) == 1 and len(expected) > 1:
        name = class_names[guessed[0]]
        warn("%s: the %d masks hold no class except %s: %s", what, len(images), name, advice)
        return [{**base, "metric": "warning_single_class", "value": 1}]
    missing = [k for k in expected if not seen[k]]
    if missing:
        names = ", ".join(class_names[k] for k in missing)
        warn("%s: no pixel of %s, which the labels name: %s", what, names, advice)
    return [{**base, "metric": "warning_empty_class", "class": class_names[k], "value": named[k - 1]} for k in missing]
