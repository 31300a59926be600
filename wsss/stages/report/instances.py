"""Instances on the page: the table of their figures, and the instances of a few images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_indexed_image, read_mask
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.json_files import read_instances
from wsss.files.mask_values import IGNORE, MOST_NUMBERED
from wsss.files.overlay import mask_overlay
from wsss.files.truth import true_instances
from wsss.settings.kinds import PROPOSALS
from wsss.stages.report.cells import Cell, mark_best, percent
from wsss.stages.report.metrics import Metrics
from wsss.stages.report.trail import Figure, Trail, photo_figure
from wsss.workflow.rows import ArtefactKey, RunPlan

COLUMNS: tuple[tuple[str, str, float | None], ...] = (
    ("mAPʳ, IoU 0.25", "map_r", 0.25),
    ("0.5", "map_r", 0.5),
    ("0.75", "map_r", 0.75),
    ("ABO", "abo", None),
    ("pointing", "pointing", None),
    ("response quality", "response_quality", None),
)
"""Heading, metric and threshold."""
SIDE = 240
"""Longest side of an image, px."""
DESCRIBED = 3
"""Instances of an image whose class and confidence are shown."""


@dataclass(frozen=True, kw_only=True)
class InstanceTable:
    """(method, cells) a row."""

    columns: list[str]
    rows: list[tuple[str, list[Cell]]]


def instance_table(plan: RunPlan, metrics: Metrics) -> InstanceTable:
    """Method × figure on the training images, the best of each column marked; no row without instances.

    Rows made with the true instances as proposals say so, and are not among the best.
    They show the most that retrieval can reach.
    """
    rows, compared = [], []
    for entry in plan.instances:
        key = ArtefactKey(entry.method, "", "instances", None, None, "train")
        values = [
            metrics.number(key, metric) if threshold is None else dict(metrics.curve(key, metric)).get(threshold)
            for _, metric, threshold in COLUMNS
        ]
        cells = [Cell(text=percent(value), value=value) for value in values]
        if entry.proposals and PROPOSALS[entry.proposals].level == "truth":
            rows.append((f"{entry.method} (true proposals)", cells))
        else:
            rows.append((entry.method, cells))
            compared.append(cells)
    mark_best(compared)
    return InstanceTable(columns=[heading for heading, _, _ in COLUMNS], rows=rows)


def instance_trails(plan: RunPlan, *, index: ImageIndex, image_ids: Sequence[str]) -> list[Trail]:
    """Images with every method's instances: outlined, in their classes' colours, with the best ones' confidence.

    Args:
        plan: Where the instances are.
        index: The data set.
        image_ids: Which images; those that no method has are left out.

    Raises:
        ArtefactError: If a file of instances is damaged, or an image has more of them than the file.
    """
    entries = {e.method: _entries(e.files, image_ids, num_classes=index.num_classes) for e in plan.instances}
    found = []
    for image_id in image_ids:
        row = index.rows[image_id]
        drawn = {e.method: Path(e.folder) / f"{image_id}.png" for e in plan.instances if image_id in entries[e.method]}
        drawn = {method: path for method, path in drawn.items() if path.is_file()}
        if not drawn:
            continue
        image_u8 = read_indexed_image(row)
        figures = [
            _found(path, entries[method][image_id], image_u8, caption=method, names=index.class_names)
            for method, path in drawn.items()
        ]
        found.append(
            Trail(
                image_id=image_id,
                rank="",
                class_ids=[int(c) for c in row.class_ids],
                photo=photo_figure(image_u8, side=SIDE),
                truth=_truth(row, image_u8),
                masks=figures,
            )
        )
    return found


def _entries(files: Sequence[str], image_ids: Sequence[str], *, num_classes: int) -> dict[str, list[dict[str, Any]]]:
    """The instances of some images, best first, of the files that exist; one shard in memory at a time."""
    found = {}
    for path in map(Path, files if image_ids else []):
        content = read_instances(path, num_classes=num_classes) if path.exists() else {}
        found.update({i: content[i] for i in image_ids if i in content})
    return found


def _found(
    path: Path, entries: Sequence[Mapping[str, Any]], image_u8: np.ndarray, *, caption: str, names: Sequence[str]
) -> Figure:
    """A method's instances on one image."""
    numbers = read_mask(path)
    if numbers.max() > len(entries):
        raise ArtefactError(
            f"{path}: instance {numbers.max()} of {len(entries)} that the shard's file has; "
            "delete instances.json beside its folder and rerun"
        )
    classes = [e["category_id"] for e in entries]
    return _figure(image_u8, numbers, classes, caption=caption, detail=_best(entries, names))


def _truth(row: ImageRow, image_u8: np.ndarray) -> Figure | None:
    """The true instances, void pixels unlabelled; None if the image has none that count."""
    if not (row.instances and row.mask and row.measured):
        return None
    masks, class_ids, void = true_instances(row)
    numbers = np.where(void, IGNORE, 0).astype(np.uint8)
    for k, mask in enumerate(masks[:MOST_NUMBERED], 1):
        numbers[mask] = k
    return _figure(image_u8, numbers, class_ids, caption="truth")


def _figure(
    image_u8: np.ndarray, numbers: np.ndarray, class_ids: Sequence[int] | np.ndarray, *, caption: str, detail: str = ""
) -> Figure:
    """Instances 1, 2, … of the given classes over their image."""
    classes = np.zeros(256, np.uint8)
    classes[1 : 1 + len(class_ids[:MOST_NUMBERED])] = class_ids[:MOST_NUMBERED]
    return Figure(image=mask_overlay(image_u8, numbers, side=SIDE, classes=classes), caption=caption, detail=detail)


def _best(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Class and confidence of the best instances, and how many more there are."""
    described = [f"{names[e['category_id']]} {e['score']:.2f}" for e in entries[:DESCRIBED]]
    more = [f"and {len(entries) - DESCRIBED} more"] if len(entries) > DESCRIBED else []
    return ", ".join([*described, *more])
