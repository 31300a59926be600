"""Images followed through the stages: which ones, and what every stage made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from wsss.files.imaging import erase, read_indexed_image, read_mask
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.store import MapSet
from wsss.methods import FACTS
from wsss.runtime.console import progress
from wsss.stages.report.choice import choose, choose_varied
from wsss.stages.report.data_facts import has_truth
from wsss.stages.report.images import grey_image, heat_overlay, image_miou, regions_to_mask
from wsss.stages.report.plan import followed_method
from wsss.stages.report.trail import Figure, Round, Trail, mask_figure, photo_figure
from wsss.workflow.rows import FULL_SUPERVISION, MeasuredArtefact, RunPlan

PIXEL_BUDGET = 6_500_000
"""Pixels of all gallery images together: about 3.5 MB of inlined JPEG."""
MIN_SIDE, MAX_SIDE = 88, 260
"""Smallest and largest longest side of a gallery image, px."""
HERO_SIDE, HERO_CANDIDATES = 300, 400
"""Longest side of an image of the top strip, px, and about how many images are ranked for it."""
COMPARED = 3
"""Other methods whose pseudo masks are shown beside the followed one's."""


class Gallery:
    """Images of one run. Store files are opened when first needed, absent ones are left out."""

    def __init__(self, *, index: ImageIndex, plan: RunPlan) -> None:
        """Remember what is where.

        Args:
            index: The data set.
            plan: Where the artefacts are.
        """
        self.index, self.plan = index, plan
        self.method = followed_method(plan)
        self._sets: dict[tuple[str, ...], MapSet] = {}
        self._scores: dict[tuple[str, ...], dict[str, float]] = {}

    # ------------------------------------------------------------ which images

    def trails(self, count: int) -> list[Trail]:
        """The chosen training images through every stage; by index order if nothing can be ranked."""
        chosen = self._chosen(self.ranked_artefact(), self.index.split("train"), count)
        side = self._side(len(chosen))
        return [self._trail(self.index.rows[i], rank, side=side) for i, rank in chosen]

    def val_trails(self, count: int) -> list[Trail]:
        """Validation images with what every segmenter predicts; none without predictions."""
        last = self.hero_artefact()
        if last is None or last.split != "val":
            return []
        predictions = [
            a for a in self.plan.find(stage="prediction", split="val") if a.method in (self.method, FULL_SUPERVISION)
        ]
        chosen = self._chosen(last, self._candidates(last), count)
        return [self._val_trail(self.index.rows[i], rank, predictions) for i, rank in chosen]

    def hero(self, count: int) -> list[tuple[Figure, Figure]]:
        """(photo, mask) pairs of well-segmented images of varied classes, for the top of the page."""
        artefact = self.hero_artefact()
        if artefact is None:
            return []
        rows = self._candidates(artefact)
        scores = self.image_scores(artefact, rows)
        shown = [row for row in rows if not scores or row.image_id in scores]
        ranked = sorted(shown, key=lambda r: -scores.get(r.image_id, 0.0))
        varied = choose_varied([(r.image_id, tuple(int(c) for c in r.class_ids)) for r in ranked], count)
        return [self._hero_pair(artefact, self.index.rows[i]) for i in varied]

    def ranked_artefact(self) -> MeasuredArtefact | None:
        """The pseudo masks (or seeds) whose mIoU ranks the images."""
        found = [a for stage in ("seed", "pseudo") for a in self._own(stage) if len(self._maps(a))]
        return found[-1] if found else None

    def hero_artefact(self) -> MeasuredArtefact | None:
        """The last validation predictions, or else what ranks the images."""
        found = [a for a in self._own("prediction") if a.split == "val" and len(self._maps(a))]
        return found[-1] if found else self.ranked_artefact()

    def image_scores(self, artefact: MeasuredArtefact, rows: Sequence[ImageRow]) -> dict[str, float]:
        """The mIoU of each image that has truth and a mask, by image_id."""
        key = tuple(artefact.files)
        if key not in self._scores:
            maps = self._maps(artefact)
            wanted = [row for row in rows if has_truth(row) and row.image_id in maps]
            self._scores[key] = {
                row.image_id: image_miou(maps.read(row.image_id, "mask")["mask"], _truth(row))
                for row in progress(wanted, what="rank images")
            }
        return self._scores[key]

    def _chosen(self, artefact: MeasuredArtefact | None, rows: Sequence[ImageRow], count: int) -> list[tuple[str, str]]:
        """(image_id, rank); the first images without a rank if nothing can be ranked."""
        scores = self.image_scores(artefact, rows) if artefact is not None else {}
        return choose(scores, count) if scores else [(row.image_id, "") for row in rows[:count]]

    def _candidates(self, artefact: MeasuredArtefact) -> list[ImageRow]:
        """Images with a mask of this artefact, evenly thinned to what can be ranked quickly."""
        rows = [row for row in self.index.split(artefact.split) if row.image_id in self._maps(artefact)]
        return rows[:: max(1, len(rows) // HERO_CANDIDATES)]

    # ------------------------------------------------------------ one image

    def _hero_pair(self, artefact: MeasuredArtefact, row: ImageRow) -> tuple[Figure, Figure]:
        image_u8, mask = read_indexed_image(row), self._mask(artefact, row)
        labels = ", ".join(self.index.class_names[int(c)] for c in row.class_ids)
        return (
            photo_figure(image_u8, side=HERO_SIDE, caption=row.image_id),
            mask_figure(image_u8, mask, side=HERO_SIDE, caption=labels, truth=_known_truth(row)),
        )

    def _trail(self, row: ImageRow, rank: str, *, side: int) -> Trail:
        image_u8, truth = read_indexed_image(row), _known_truth(row)
        masks = [
            *self._fused_figures(row, image_u8, side=side),
            *self._saliency_figures(row, side=side),
            *self._mask_figures(self._flow(), row, image_u8, truth, side=side),
        ]
        rounds = self._rounds(row, image_u8, side=side)
        return _trail_of(row, rank, image_u8, truth, side=side, rounds=rounds, masks=masks)

    def _val_trail(self, row: ImageRow, rank: str, predictions: Sequence[MeasuredArtefact]) -> Trail:
        image_u8, truth = read_indexed_image(row), _known_truth(row)
        masks = list(self._mask_figures(predictions, row, image_u8, truth, side=MAX_SIDE))
        return _trail_of(row, rank, image_u8, truth, side=MAX_SIDE, rounds=[], masks=masks)

    def _rounds(self, row: ImageRow, image_u8: np.ndarray, *, side: int) -> list[Round]:
        """Every round: the image as its network saw it, scores, claimed regions."""
        facts = FACTS.get(self.plan.kinds.get(self.method, self.method))
        seen, out = image_u8, []
        for scores in self._own("scores"):
            figures = [photo_figure(seen, side=side, caption="photo" if seen is image_u8 else "erased")]
            if row.image_id in self._maps(scores):
                record = self._maps(scores).read(row.image_id, "scores")
                heat = heat_overlay(seen, record["scores"][record.class_ids > 0], side=side)
                figures.append(Figure(image=heat, caption="scores"))
            claimed = [a for a in self._own("regions") if a.round == scores.round]
            if claimed and row.image_id in self._maps(claimed[0]):
                record = self._maps(claimed[0]).read(row.image_id, "regions")
                mask = regions_to_mask(record["regions"], record.class_ids)
                figures.append(mask_figure(seen, mask, side=side, caption="region"))
                if facts and facts.erases:
                    seen = erase(seen, np.asarray(record["regions"].any(axis=0)), colour=self.index.mean_rgb)
            out.append(Round(title=f"round {scores.round}", figures=figures))
        return out

    def _fused_figures(self, row: ImageRow, image_u8: np.ndarray, *, side: int) -> Iterator[Figure]:
        for fused in self._own("fused"):
            if row.image_id in self._maps(fused):
                record = self._maps(fused).read(row.image_id, "regions")
                mask = regions_to_mask(record["regions"], record.class_ids)
                yield mask_figure(image_u8, mask, side=side, caption="fused regions")

    def _saliency_figures(self, row: ImageRow, *, side: int) -> Iterator[Figure]:
        maps = self._open(self.plan.saliency.get(self.method, []))
        if row.image_id in maps:
            image = grey_image(maps.read(row.image_id, "saliency")["saliency"], side=side)
            yield Figure(image=image, caption="saliency")

    def _mask_figures(
        self,
        artefacts: Sequence[MeasuredArtefact],
        row: ImageRow,
        image_u8: np.ndarray,
        truth: np.ndarray | None,
        *,
        side: int,
    ) -> Iterator[Figure]:
        """The image's mask of every artefact that has one."""
        for artefact in artefacts:
            if row.image_id in self._maps(artefact):
                caption, detail = self._caption(artefact)
                mask = self._mask(artefact, row)
                yield mask_figure(image_u8, mask, side=side, caption=caption, detail=detail, truth=truth)

    def _caption(self, artefact: MeasuredArtefact) -> tuple[str, str]:
        """Caption and second line of a mask."""
        if artefact.stage == "seed":
            return "seed", ""
        if artefact.method == FULL_SUPERVISION:
            return "prediction", "full supervision"
        if artefact.method != self.method:
            return "pseudo", f"of {artefact.method}"
        cycle = artefact.cycle or 0
        if artefact.exported:
            return "exported", f"from {artefact.variant}, cycle {cycle - 1}"
        shared = artefact.stage == "pseudo" and cycle == 0  # by all variants
        return artefact.stage, f"cycle {cycle}" if shared else f"{artefact.variant}, cycle {cycle}"

    # ------------------------------------------------------------ which artefacts

    def _own(self, stage: str) -> list[MeasuredArtefact]:
        """The followed method's artefacts of a stage, by round."""
        return sorted(self.plan.find(method=self.method, stage=stage), key=lambda a: a.round or 0)

    def _flow(self) -> list[MeasuredArtefact]:
        """Seeds, then pseudo masks and predictions on training images cycle by cycle, then those of other methods."""
        return [*self._own("seed"), *self._cycles(), *self._others()]

    def _cycles(self) -> list[MeasuredArtefact]:
        found = [a for a in [*self._own("pseudo"), *self._own("prediction")] if a.split == "train"]
        return sorted(found, key=lambda a: (a.cycle, a.stage == "prediction"))

    def _others(self) -> list[MeasuredArtefact]:
        """Cycle 0's pseudo masks of a few other methods, for comparison."""
        found = self.plan.find(stage="pseudo", cycle=0)
        return [a for a in found if a.method not in (self.method, FULL_SUPERVISION)][:COMPARED]

    def _side(self, images: int) -> int:
        """Longest side of the images, so that the page stays small however many there are."""
        per_image = 3 + 3 * len(self._own("scores")) + len(self._cycles()) + len(self._others()) + 2
        return int(min(MAX_SIDE, max(MIN_SIDE, (PIXEL_BUDGET / (0.75 * per_image * max(images, 1))) ** 0.5)))

    # ------------------------------------------------------------ files

    def _mask(self, artefact: MeasuredArtefact, row: ImageRow) -> np.ndarray:
        return np.asarray(self._maps(artefact).read(row.image_id, "mask")["mask"])

    def _maps(self, artefact: MeasuredArtefact) -> MapSet:
        return self._open(artefact.files)

    def _open(self, files: Sequence[str]) -> MapSet:
        key = tuple(files)
        if key not in self._sets:
            self._sets[key] = MapSet(path for f in files if (path := Path(f)).is_file())
        return self._sets[key]


def _trail_of(
    row: ImageRow,
    rank: str,
    image_u8: np.ndarray,
    truth: np.ndarray | None,
    *,
    side: int,
    rounds: list[Round],
    masks: list[Figure],
) -> Trail:
    return Trail(
        image_id=row.image_id,
        rank=rank,
        class_ids=[int(c) for c in row.class_ids],
        photo=photo_figure(image_u8, side=side),
        truth=None if truth is None else mask_figure(image_u8, truth, side=side, caption="truth"),
        rounds=rounds,
        masks=masks,
    )


def _known_truth(row: ImageRow) -> np.ndarray | None:
    """The truth mask, if it is there and counts."""
    return _truth(row) if has_truth(row) else None


def _truth(row: ImageRow) -> np.ndarray:
    assert row.mask is not None
    return read_mask(row.mask)
