"""Instances on the page: the table of their figures, and pictures of a few images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.artefacts import ImageIndex
from wsss.imaging import read_mask, read_picture
from wsss.report.gallery import Figure, Trail
from wsss.report.gather import Key, Metrics
from wsss.report.pictures import mask_overlay, shrink
from wsss.report.tables import Cell, mark_best, percent

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
"""Longest side of a picture, px."""


@dataclass(frozen=True, kw_only=True)
class InstanceTable:
    """(method, cells) a row."""

    columns: list[str]
    rows: list[tuple[str, list[Cell]]]


def instance_table(plan: Mapping[str, Any], metrics: Metrics) -> InstanceTable:
    """Method × figure on the training images, the best of each column marked; no row without instances.

    Rows made with the true instances as proposals say so, and are not among the best: they show the ceiling of retrieval.
    """
    rows, compared = [], []
    for entry in plan.get("instances", []):
        key = Key((entry["method"], "", "instances", None, None, "train"))
        found = [dict(metrics.curve(key, name)).get(threshold) if threshold is not None else metrics.number(key, name) for _, name, threshold in COLUMNS]
        cells, ceiling = [Cell(text=percent(value), value=value) for value in found], entry["proposals"] == "truth"
        rows.append((f"{entry['method']} (true proposals)" if ceiling else entry["method"], cells))
        compared += [] if ceiling else [cells]
    mark_best(compared)
    return InstanceTable(columns=[heading for heading, _, _ in COLUMNS], rows=rows)


def instance_trails(plan: Mapping[str, Any], *, index: ImageIndex, image_ids: Sequence[str]) -> list[Trail]:
    """Images with every method's instances, each instance in a colour of its own; images that no method has are left out.

    Args:
        plan: Where the pictures are: `instances`, a list of method and folder.
        index: The data set.
        image_ids: Which images.
    """
    found = []
    for image_id in image_ids:
        row = index.rows[image_id]
        image_u8 = read_picture(row)
        drawn = {e["method"]: path for e in plan.get("instances", []) if (path := Path(e["folder"]) / f"{image_id}.png").is_file()}
        if not drawn:
            continue
        figures = [Figure(picture=mask_overlay(image_u8, read_mask(path), side=SIDE), caption=method) for method, path in drawn.items()]
        truth = Figure(picture=mask_overlay(image_u8, read_mask(row.instances), side=SIDE), caption="truth") if row.instances and row.measured else None
        photo = Figure(picture=shrink(image_u8, side=SIDE), caption="photo")
        found.append(Trail(image_id=image_id, rank="", class_ids=[int(c) for c in row.class_ids], photo=photo, truth=truth, masks=figures))
    return found
