"""Images followed through the stages: which ones, and their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from wsss.files.imaging import erase, read_indexed_image, read_mask
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.store import MapSet
from wsss.methods import FACTS
from wsss.runtime.console import progress
from wsss.stages.report.gather import FULL, followed_method, has_truth
from wsss.stages.report.images import (
    data_uri,
    grey_image,
    heat_overlay,
    image_miou,
    mask_overlay,
    regions_to_mask,
    shrink,
)

PIXEL_BUDGET = 6_500_000
"""Pixels of all gallery images together: about 3.5 MB of inlined JPEG."""
MIN_SIDE, MAX_SIDE = 88, 260
HERO_SIDE, HERO_CANDIDATES = 300, 400


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """One image, (h, w, 3) uint8 RGB, inlined when the page asks for it: caption with a second line, and its mIoU as a note."""

    image: np.ndarray
    caption: str
    detail: str = ""
    note: str = ""

    @cached_property
    def uri(self) -> str:
        """The image as an inlined JPEG."""
        return data_uri(self.image)


@dataclass(frozen=True, kw_only=True)
class Trail:
    """One image through all stages: `rounds` has (title, figures) a round, `masks` what follows the rounds."""

    image_id: str
    rank: str
    class_ids: list[int]
    photo: Figure
    truth: Figure | None
    rounds: list[tuple[str, list[Figure]]] = field(default_factory=list)
    masks: list[Figure] = field(default_factory=list)


def choose(scores: Mapping[str, float], count: int) -> list[tuple[str, str]]:
    """Which images to show.

    Args:
        scores: image_id to its mIoU.
        count: Number of images; fewer if there are fewer.

    Returns:
        (image_id, "best" | "typical" | "worst"): best first; typical ones nearest the median; worst last with the very worst first. No image twice.
    """
    ranked = sorted(scores, key=lambda i: (-scores[i], i))
    count = min(count, len(ranked))
    tail = count // 3
    head = (count - tail + 1) // 2
    middle = count - head - tail
    best, worst = ranked[:head], ranked[len(ranked) - tail :][::-1]
    rest = ranked[head : len(ranked) - tail]
    median = float(np.median(list(scores.values()))) if scores else 0.0
    typical = sorted(sorted(rest, key=lambda i: (abs(scores[i] - median), i))[:middle], key=lambda i: (-scores[i], i))
    return [*((i, "best") for i in best), *((i, "typical") for i in typical), *((i, "worst") for i in worst)]


def choose_varied(rows: Sequence[tuple[str, Sequence[int]]], count: int) -> list[str]:
    """The first `count` of ranked (image_id, class ids), classes not yet shown first."""
    picked: list[str] = []
    shown: set[int] = set()
    left = list(rows)
    while left and len(picked) < count:
        image_id, classes = max(
            left, key=lambda r: len(set(r[1]) - shown) > 0
        )  # the first with a new class, else the first
        picked.append(image_id)
        shown |= set(classes)
        left.remove((image_id, classes))
        if all(set(c) <= shown for _, c in left):
            shown = set()
    return picked


class Gallery:
    """Images of one run; store files are opened when first needed, absent ones are left out."""

    def __init__(self, *, index: ImageIndex, plan: Mapping[str, Any]) -> None:
        """Remember what is where.

        Args:
            index: The data set.
            plan: Where the stages' files are.
        """
        self.index, self.plan = index, plan
        self.method = followed_method(plan)
        self._sets: dict[tuple[str, ...], MapSet] = {}
        self._scores: dict[tuple[str, ...], dict[str, float]] = {}

    # ------------------------------------------------------------ which

    def ranked_stage(self) -> Mapping[str, Any] | None:
        """The pseudo masks (or seeds) whose mIoU ranks the images."""
        rows = [s for kind in ("seed", "pseudo") for s in self._stages(kind) if len(self._maps(s))]
        return rows[-1] if rows else None

    def image_scores(self, stage: Mapping[str, Any], rows: Sequence[ImageRow]) -> dict[str, float]:
        """The mIoU of each image that has truth and a mask."""
        key = tuple(stage["files"])
        if key not in self._scores:
            maps = self._maps(stage)
            wanted = [row for row in rows if has_truth(row) and row.image_id in maps]
            self._scores[key] = {
                row.image_id: image_miou(maps.read(row.image_id, "mask")["mask"], self._truth(row))
                for row in progress(wanted, what="rank images")
            }
        return self._scores[key]

    def trails(self, count: int) -> list[Trail]:
        """The chosen training images through every stage; by index order if nothing can be ranked."""
        stage = self.ranked_stage()
        rows = self.index.split("train")
        chosen = self._chosen(stage, rows, count)
        side = self._side(len(chosen))
        return [self._trail(self.index.rows[i], rank, side=side) for i, rank in chosen]

    def val_trails(self, count: int) -> list[Trail]:
        """Validation images with what every segmenter says; none without predictions."""
        stages = [
            s
            for s in self.plan["stages"]
            if s["stage"] == "prediction" and s["split"] == "val" and s["method"] in (self.method, FULL)
        ]
        last = self.hero_stage()
        if last is None or last["split"] != "val":
            return []
        rows = self._candidates(last)
        return [self._val_trail(self.index.rows[i], rank, stages) for i, rank in self._chosen(last, rows, count)]

    def _chosen(self, stage: Mapping[str, Any] | None, rows: Sequence[ImageRow], count: int) -> list[tuple[str, str]]:
        scores = self.image_scores(stage, rows) if stage is not None else {}
        return choose(scores, count) if scores else [(row.image_id, "") for row in rows[:count]]

    def _candidates(self, stage: Mapping[str, Any]) -> list[ImageRow]:
        """Images with a mask of this stage, evenly thinned to what can be ranked quickly."""
        rows = [row for row in self.index.split(stage["split"]) if row.image_id in self._maps(stage)]
        return rows[:: max(1, len(rows) // HERO_CANDIDATES)]

    def hero(self, count: int) -> list[tuple[Figure, Figure]]:
        """(photo, mask) pairs: well-segmented images of varied classes; the last validation predictions, else the pseudo masks."""
        stage = self.hero_stage()
        if stage is None:
            return []
        maps = self._maps(stage)
        rows = self._candidates(stage)
        scores = self.image_scores(stage, rows)
        ranked = sorted(
            (row for row in rows if not scores or row.image_id in scores), key=lambda r: -scores.get(r.image_id, 0.0)
        )
        pairs = []
        for image_id in choose_varied([(r.image_id, tuple(int(c) for c in r.class_ids)) for r in ranked], count):
            row = self.index.rows[image_id]
            image_u8 = read_indexed_image(row)
            mask = maps.read(image_id, "mask")["mask"]
            photo = Figure(image=shrink(image_u8, side=HERO_SIDE), caption=image_id)
            pairs.append(
                (
                    photo,
                    Figure(
                        image=mask_overlay(image_u8, mask, side=HERO_SIDE),
                        caption=self.labels(row),
                        note=_iou_note(mask, self._truth(row) if has_truth(row) else None),
                    ),
                )
            )
        return pairs

    def hero_stage(self) -> Mapping[str, Any] | None:
        """What the hero strip shows."""
        rows = [s for s in self._stages("prediction") if s["split"] == "val" and len(self._maps(s))]
        return rows[-1] if rows else self.ranked_stage()

    def labels(self, row: ImageRow) -> str:
        """Names of the image's labels."""
        return ", ".join(self.index.class_names[int(c)] for c in row.class_ids)

    # ------------------------------------------------------------ one image

    def _trail(self, row: ImageRow, rank: str, *, side: int) -> Trail:
        image_u8 = read_indexed_image(row)
        truth = self._truth(row) if has_truth(row) else None
        return Trail(
            image_id=row.image_id, rank=rank, class_ids=[int(c) for c in row.class_ids],
            photo=Figure(image=shrink(image_u8, side=side), caption="photo"),
            truth=None if truth is None else Figure(image=mask_overlay(image_u8, truth, side=side), caption="truth"),
            rounds=self._rounds(row, image_u8, side=side), masks=self._masks(row, image_u8, truth, side=side),
        )  # fmt: skip

    def _val_trail(self, row: ImageRow, rank: str, stages: Sequence[Mapping[str, Any]]) -> Trail:
        image_u8 = read_indexed_image(row)
        truth = self._truth(row) if has_truth(row) else None
        figures = [
            self._mask_figure(
                image_u8, self._maps(s).read(row.image_id, "mask")["mask"], truth, self._caption(s), side=MAX_SIDE
            )
            for s in stages
            if row.image_id in self._maps(s)
        ]
        photo = Figure(image=shrink(image_u8, side=MAX_SIDE), caption="photo")
        known = None if truth is None else Figure(image=mask_overlay(image_u8, truth, side=MAX_SIDE), caption="truth")
        return Trail(
            image_id=row.image_id,
            rank=rank,
            class_ids=[int(c) for c in row.class_ids],
            photo=photo,
            truth=known,
            masks=figures,
        )

    def _rounds(self, row: ImageRow, image_u8: np.ndarray, *, side: int) -> list[tuple[str, list[Figure]]]:
        """A round: the image as its network saw it, scores, claimed regions."""
        facts = FACTS.get(self.plan["kinds"].get(self.method, self.method))
        seen, out = image_u8, []
        for stage in self._stages("scores"):
            figures = [Figure(image=shrink(seen, side=side), caption="photo" if seen is image_u8 else "erased")]
            maps = self._maps(stage)
            if row.image_id in maps:
                record = maps.read(row.image_id, "scores")
                figures.append(
                    Figure(
                        image=heat_overlay(seen, record["scores"][record.class_ids > 0], side=side), caption="scores"
                    )
                )
            claimed = [self._maps(s) for s in self._stages("regions") if s["round"] == stage["round"]]
            if claimed and row.image_id in claimed[0]:
                record = claimed[0].read(row.image_id, "regions")
                figures.append(
                    Figure(
                        image=mask_overlay(seen, regions_to_mask(record["regions"], record.class_ids), side=side),
                        caption="region",
                    )
                )
                seen = (
                    erase(seen, np.asarray(record["regions"].any(axis=0)), colour=self.index.mean_rgb)
                    if facts and facts.erases
                    else seen
                )
            out.append((f"round {stage['round']}", figures))
        return out

    def _masks(self, row: ImageRow, image_u8: np.ndarray, truth: np.ndarray | None, *, side: int) -> list[Figure]:
        out = []
        for stage in self._stages("fused"):
            if row.image_id in self._maps(stage):
                record = self._maps(stage).read(row.image_id, "regions")
                out.append(
                    self._mask_figure(
                        image_u8,
                        regions_to_mask(record["regions"], record.class_ids),
                        None,
                        ("fused regions", ""),
                        side=side,
                    )
                )
        saliency = self._open(self.plan["saliency"].get(self.method, []))
        if row.image_id in saliency:
            out.append(
                Figure(
                    image=grey_image(saliency.read(row.image_id, "saliency")["saliency"], side=side), caption="saliency"
                )
            )
        for stage in [*self._stages("seed"), *self._flow(), *self._others()]:
            if row.image_id in self._maps(stage):
                mask = self._maps(stage).read(row.image_id, "mask")["mask"]
                out.append(self._mask_figure(image_u8, mask, truth, self._caption(stage), side=side))
        return out

    def _mask_figure(
        self, image_u8: np.ndarray, mask: np.ndarray, truth: np.ndarray | None, caption: tuple[str, str], *, side: int
    ) -> Figure:
        return Figure(
            image=mask_overlay(image_u8, mask, side=side),
            caption=caption[0],
            detail=caption[1],
            note=_iou_note(mask, truth),
        )

    def _flow(self) -> list[Mapping[str, Any]]:
        """Pseudo masks and predictions on training images, cycle by cycle."""
        rows = [s for s in [*self._stages("pseudo"), *self._stages("prediction")] if s["split"] == "train"]
        return sorted(rows, key=lambda s: (s["cycle"], s["stage"] == "prediction"))

    def _others(self) -> list[Mapping[str, Any]]:
        """Cycle 0's pseudo masks of up to three other methods, for comparison."""
        rows = [
            s
            for s in self.plan["stages"]
            if s["stage"] == "pseudo" and s["cycle"] == 0 and s["method"] not in (self.method, FULL)
        ]
        return rows[:3]

    def _caption(self, stage: Mapping[str, Any]) -> tuple[str, str]:
        """Caption and second line of a mask."""
        if stage["stage"] == "seed":
            return "seed", ""
        if stage["method"] == FULL:
            return "prediction", "full supervision"
        if stage["method"] != self.method:
            return "pseudo", f"of {stage['method']}"
        if stage.get("exported"):
            return "exported", f"from {stage['variant']}, cycle {stage['cycle'] - 1}"
        named = stage["stage"] == "prediction" or stage["cycle"]
        return ("pseudo" if stage["stage"] == "pseudo" else "prediction"), (
            f"{stage['variant']}, " if named else ""
        ) + f"cycle {stage['cycle']}"

    # ------------------------------------------------------------ files

    def _stages(self, kind: str) -> list[Mapping[str, Any]]:
        return sorted(
            (s for s in self.plan["stages"] if s["method"] == self.method and s["stage"] == kind),
            key=lambda s: s["round"] or 0,
        )

    def _maps(self, stage: Mapping[str, Any]) -> MapSet:
        return self._open(stage["files"])

    def _open(self, files: Sequence[str]) -> MapSet:
        key = tuple(files)
        if key not in self._sets:
            self._sets[key] = MapSet(path for f in files if (path := Path(f)).is_file())
        return self._sets[key]

    def _truth(self, row: ImageRow) -> np.ndarray:
        assert row.mask is not None
        return read_mask(row.mask)

    def _side(self, images: int) -> int:
        """Longest side of the images, so that the page stays small however many there are."""
        per_image = 3 + 3 * len(self._stages("scores")) + len(self._flow()) + len(self._others()) + 2
        return int(min(MAX_SIDE, max(MIN_SIDE, (PIXEL_BUDGET / (0.75 * per_image * max(images, 1))) ** 0.5)))


def _iou_note(mask: np.ndarray, truth: np.ndarray | None) -> str:
    return "" if truth is None else f"{100 * image_miou(mask, truth):.0f}"
