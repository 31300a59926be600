"""What EPS's adaptive selection makes of the present classes of a finished run.

`python benchmarks/study_selection.py results/scenes_all --methods eps eps_naive`

For the classifiers of methods of the kind eps, on whole training images at scale 1: how many maps of present classes
count as salient, and how many are nowhere above 0.5 and so count as background wherever they are.
Where every class is an object that saliency finds, all should be salient.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss.files.imaging import normalise, read_indexed_image
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.store import MapSet
from wsss.nets.checkpoints import load_network, restore_network
from wsss.settings.sections import BackboneSection
from wsss.stages.seeds.eps import Method, overlap, resize_saliency


class Judge:
    """The classifier of one method, and what its selection says of an image."""

    def __init__(self, run: Path, name: str, *, index: ImageIndex) -> None:
        """Load the classifier; its settings are those that it was trained with."""
        path = run / name / "seeds/round-1/classifier.safetensors"
        settings = load_network(path)[1]["settings"]
        self.method = Method(options=settings["options"])
        self.model = self.method.build(
            index.num_classes, round=1, backbone=BackboneSection.model_validate(settings["backbone"]), previous=None
        ).eval()
        restore_network(self.model, path, class_names=index.class_names)
        self.saliency = MapSet(sorted((run / "saliency").glob("*/train-*.h5")))

    @torch.no_grad()
    def maps(self, row: ImageRow) -> list[tuple[bool, bool]]:
        """Of each present class: whether its map counts as salient, and whether it is nowhere above 0.5."""
        normalisation: Any = self.model.backbone.normalisation
        image_n = torch.from_numpy(normalise(read_indexed_image(row), normalisation))[None]
        maps = self.model(image_n)
        options = self.method.options
        salient = torch.from_numpy(self.saliency.read(row.image_id)["saliency"].astype(np.float32) / 255)[None]
        grid = resize_saliency(
            salient**options.saliency_gamma, size=(maps.shape[2], maps.shape[3]), mode=options.saliency_resize
        )
        probabilities = maps.softmax(1)[:, :-1]
        shares, largest = overlap(probabilities, grid)[0], probabilities[0].amax((1, 2))
        return [(bool(shares[c] > options.overlap), bool(largest[c] <= 0.5)) for c in row.class_ids - 1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--methods", nargs="+", default=["eps", "eps_naive"])
    parser.add_argument("--every", type=int, default=1, help="take each so-manyth training image")
    arguments = parser.parse_args()
    index = ImageIndex(arguments.run / "dataset" / "index.csv")
    heads = ("maps of present classes", "count as salient", "nowhere above 0.5", "on saliency, but too little of them")
    print(f"| classifier of | {' | '.join(heads)} |\n|---|---|---|---|---|")
    for name in arguments.methods:
        judge = Judge(arguments.run, name, index=index)
        found = [pair for row in index.split("train")[:: arguments.every] for pair in judge.maps(row)]
        salient, empty = np.array(found, bool).T
        rest = ~salient & ~empty
        print(f"| {name} | {len(found)} | {salient.mean():.0%} | {empty.mean():.0%} | {rest.mean():.0%} |", flush=True)


if __name__ == "__main__":
    main()
