"""How saliency, region threshold and CRF preset change the seed masks of a finished run.

`python benchmarks/study_seeds.py results/scenes`

Reads the run's training images (every fourth, or --every), the fused scores of its methods, the saliency maps, and
the truth. It is for choosing settings on training images, never on val.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from wsss.files.imaging import read_image, read_mask, resize_maps
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.store import MapSet
from wsss.settings.sections import CrfSection
from wsss.stages.evaluate.confusion import confusion, figures
from wsss.stages.pseudo.crf import PRESETS, crf_parameters, dense_crf, label_probabilities
from wsss.stages.pseudo.seedmask import seeds_from_regions, seeds_from_scores
from wsss.stages.seeds.regions import claim

Frame = Literal["signed_max", "relu_max", "minmax"]
Masks = Callable[[ImageRow], np.ndarray]


class Study:
    """The maps of one method in a run, and the truth."""

    def __init__(self, run: Path, *, method: str, every: int, saliency: str) -> None:
        """Open the run.

        Args:
            run: results/{run}.
            method: Whose fused scores.
            every: Take each so-manyth training image.
            saliency: Kind of the saliency maps.
        """
        self.index = ImageIndex(run / "dataset" / "index.csv")
        self.rows = [r for r in self.index.split("train") if r.measured and r.mask][::every]
        self.method = method
        self.scores = MapSet(sorted((run / method / "seeds/fused").glob("*.h5")))
        self.round_1 = MapSet(sorted((run / method / "seeds/round-1/scores").glob("*.h5")))
        self.saliency = MapSet(sorted((run / "saliency").glob(f"{saliency}/train-*.h5")))
        self.truth = {r.image_id: read_mask(r.mask) for r in self.rows if r.mask}

    def salient(self, row: ImageRow) -> np.ndarray:
        """(H, W) float32 in [0, 1]."""
        return self.saliency.read(row.image_id)["saliency"].astype(np.float32) / 255

    def regions(self, row: ImageRow, *, threshold: float, saliency: float) -> np.ndarray:
        """Seeds by the paper's truth table."""
        claimed = (
            resize_maps(self.scores.read(row.image_id, "scores")["scores"], size=(row.height, row.width)) > threshold
        )
        return seeds_from_regions(claimed, row.class_ids, self.salient(row), saliency_threshold=saliency)

    def framed(self, row: ImageRow, *, threshold: float, frame: Frame) -> np.ndarray:
        """Seeds by the paper's truth table from the regions that round 1 claims in a frame of the threshold."""
        scores = self.round_1.read(row.image_id, "scores")["scores"]
        claimed = claim(scores, size=(row.height, row.width), rel_threshold=threshold, normalise=frame)
        return seeds_from_regions(claimed, row.class_ids, self.salient(row), saliency_threshold=0.06)

    def argmax(self, row: ImageRow, *, background: float | None) -> np.ndarray:
        """Seeds by scores; background None: 1 - saliency."""
        scores = self.scores.read(row.image_id, "scores")["scores"].astype(np.float32)
        return seeds_from_scores(
            scores,
            row.class_ids,
            size=(row.height, row.width),
            background=1 - self.salient(row) if background is None else background,
        )

    def refined(self, row: ImageRow, mask: np.ndarray, *, preset: str) -> np.ndarray:
        """A mask after the dense CRF."""
        ids = np.concatenate([[0], row.class_ids]).astype(np.uint8)
        parameters = crf_parameters(CrfSection.model_validate({"preset": preset}))
        return ids[
            dense_crf(
                read_image(row.image), label_probabilities(mask, row.class_ids, confidence=0.7), parameters=parameters
            ).argmax(0)
        ]

    def line(self, name: str, masks: Masks) -> None:
        """Print one row of the table."""
        n = self.index.num_classes
        matrix = sum(confusion(self.truth[r.image_id], masks(r), num_classes=n) for r in self.rows)
        assert isinstance(matrix, np.ndarray)
        f = figures(matrix)
        shown = [f"{100 * float(f[k]):.1f}" for k in ("miou", "coverage", "mean_precision", "mean_recall")]
        print(f"| {self.method}: {name} | {' | '.join(shown)} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--methods", nargs="+", default=["cam", "erasing"])
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--crf", action="store_true", help="also the presets of the dense CRF (slow)")
    parser.add_argument(
        "--frames", action="store_true", help="also the frames of seeds.claim.normalise, on the first method's round 1"
    )
    parser.add_argument("--saliency", default="*", help="the kind, where the run has maps of several")
    arguments = parser.parse_args()
    studies = [
        Study(arguments.run, method=m, every=arguments.every, saliency=arguments.saliency) for m in arguments.methods
    ]
    first = studies[0]
    salient = np.concatenate([first.salient(r).ravel() for r in first.rows])
    object_ = np.concatenate([first.truth[r.image_id].ravel() > 0 for r in first.rows])
    print(
        f"{len(first.rows)} images\n\n| saliency below | true background among it | background found |\n|---|---|---|"
    )
    for t in (0.02, 0.06, 0.1, 0.2, 0.3):
        print(f"| {t} | {100 * (~object_[salient < t]).mean():.1f} | {100 * (salient[~object_] < t).mean():.1f} |")
    print("\n| seeds | mIoU | coverage | precision | recall |\n|---|---|---|---|---|")
    for study in studies:
        tabulate(study, crf=arguments.crf)
    for frame in get_args(Frame) if arguments.frames else ():
        for threshold in (0.3, 0.4, 0.5, 0.6, 0.75, 0.85):
            first.line(
                f"round 1, {frame} {threshold}, saliency 0.06",
                lambda r, t=threshold, f=frame: first.framed(r, threshold=t, frame=f),
            )


def tabulate(study: Study, *, crf: bool) -> None:
    """The rows of one method."""
    for threshold in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.85):
        study.line(
            f"regions {threshold}, saliency 0.06", lambda r, t=threshold: study.regions(r, threshold=t, saliency=0.06)
        )
    study.line("regions 0.6, saliency 0.15", lambda r: study.regions(r, threshold=0.6, saliency=0.15))
    for background in (0.2, 0.3, 0.5, 0.6, None):
        study.line(
            f"scores, background {background or '1 - saliency'}", lambda r, b=background: study.argmax(r, background=b)
        )
    for preset in PRESETS if crf else ():
        study.line(
            f"regions 0.6, saliency 0.06, CRF {preset}",
            lambda r, p=preset: study.refined(r, study.regions(r, threshold=0.6, saliency=0.06), preset=p),
        )
        study.line(
            f"scores, background 0.5, CRF {preset}",
            lambda r, p=preset: study.refined(r, study.argmax(r, background=0.5), preset=p),
        )


if __name__ == "__main__":
    main()
