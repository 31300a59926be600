"""Sources of mask proposals on the embedded scenes' training images, in one run.

`python benchmarks/bench_proposals.py [--images 60] [--many]`

Each source gets the same images and the default limits of size.
Hierarchies give the default number of proposals unless the row says otherwise.
For each object the best overlap (IoU) of any proposal is taken: it bounds what retrieval can find.
Rows with one smoothing, another number or another hierarchy differ from the default in that alone.
Felzenszwalb's grouping at several scales is compared where scikit-image can be imported; the package does not need it.
It does not rank its regions, so all of them count.
Times are of the processor, one core; figures are the same on every machine except for rounding.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import higra as hg
import numpy as np

from wsss.settings.sections import ScenesSection, WatershedSection
from wsss.stages.dataset.drawing.scene import Scene, draw_scene
from wsss.stages.instances.watershed import watershed_proposals

Source = Callable[[np.ndarray], np.ndarray]
"""(H, W, 3) uint8 to masks (S, H, W) bool."""
MANY = 3000
"""Proposals that tell a poor hierarchy from a poor ranking: about all that it has within the limits of size."""
SCALES = (25, 50, 100, 200, 400, 800)
"""Of Felzenszwalb's grouping; larger ones give larger regions."""


def of_hierarchies(image_u8: np.ndarray, **changed: Any) -> np.ndarray:
    """The package's proposals with the default settings, except `changed`."""
    w = WatershedSection()
    settings: dict[str, Any] = {
        "smoothings": w.smoothings,
        "count": w.count,
        "min_area": w.min_area,
        "max_area": w.max_area,
    }
    return watershed_proposals(image_u8, **settings | changed)[0]


def of_groups(image_u8: np.ndarray, *, grouping: Callable[..., np.ndarray], scales: Sequence[int]) -> np.ndarray:
    """Regions within the default limits of size of a grouping of the image at each scale, none twice."""
    w, found = WatershedSection(), dict[bytes, np.ndarray]()
    for scale in scales:
        labels = grouping(image_u8, scale=scale, sigma=0.8, min_size=20)
        for k in np.unique(labels):
            mask = labels == k
            if w.min_area <= mask.mean() <= w.max_area:
                found.setdefault(mask.tobytes(), mask)
    return np.array(list(found.values()), np.bool_).reshape(-1, *image_u8.shape[:2])


def sources(*, many: bool = False) -> dict[str, Source]:
    """Everything that is compared, by the name of its row.

    With `many`, the hierarchies that rank their regions badly are compared once more with nearly all their regions.
    """
    first, second = WatershedSection().smoothings
    found: dict[str, Source] = {
        "watershed by area, both smoothings (default)": of_hierarchies,
        "the same, 200 proposals": partial(of_hierarchies, count=200),
        "the same, 600 proposals": partial(of_hierarchies, count=600),
        f"smoothed by {first:g} px alone": partial(of_hierarchies, smoothings=[first]),
        f"smoothed by {second:g} px alone": partial(of_hierarchies, smoothings=[second]),
        "by volume": partial(of_hierarchies, hierarchy=hg.watershed_hierarchy_by_volume),
        "by number of parents": partial(of_hierarchies, hierarchy=hg.watershed_hierarchy_by_number_of_parents),
        "by dynamics": partial(of_hierarchies, hierarchy=hg.watershed_hierarchy_by_dynamics),
        "average linkage": partial(of_hierarchies, hierarchy=hg.binary_partition_tree_average_linkage),
    }
    if many:
        found |= {
            f"{name}, up to {MANY} proposals": partial(found[name], count=MANY)
            for name in ("by dynamics", "average linkage")
        }
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError:
        print("Felzenszwalb's grouping is left out: scikit-image cannot be imported.\n")
        return found
    return found | {f"Felzenszwalb, {len(SCALES)} scales": partial(of_groups, grouping=felzenszwalb, scales=SCALES)}


def best_overlaps(scene: Scene, masks: np.ndarray) -> np.ndarray:
    """(G,) IoU of each object of a scene with the proposal (S, H, W) that fits it best."""
    areas, best = masks.sum((1, 2)), []
    for k in np.unique(scene.instances[scene.instances > 0]):
        inside = scene.instances == k
        shared = masks[:, inside].sum(1)
        best.append((shared / (areas + inside.sum() - shared)).max(initial=0.0))
    return np.array(best)


def main() -> None:
    """Print one row a source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument(
        "--many",
        action="store_true",
        help="also rows with nearly all regions of the hierarchies that do badly, which take half of the time",
    )
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    s = ScenesSection()
    scenes = [
        draw_scene(s.generator_seed, "train", n, min_side=s.min_side, max_side=s.max_side)
        for n in range(1, arguments.images + 1)
    ]
    objects = sum(len(np.unique(scene.instances)) - 1 for scene in scenes)
    compared = sources(many=arguments.many)
    print(f"{len(scenes)} images, {objects} objects\n")
    print("| proposals | an image | mean best IoU | recall at 0.5, % | at 0.75, % | s an image |")
    print("|---|---|---|---|---|---|")
    for name, source in compared.items():
        counts, overlaps, spent = [], [], []
        for scene in scenes:
            began = time.process_time()
            masks = source(scene.image_u8)
            spent.append(time.process_time() - began)
            counts.append(len(masks))
            overlaps.append(best_overlaps(scene, masks))
        best = np.concatenate(overlaps)
        recall = " | ".join(f"{100 * (best >= t).mean():.0f}" for t in (0.5, 0.75))
        row = f"| {name} | {np.mean(counts):.0f} | {best.mean():.3f} | {recall} | {np.median(spent):.2f} |"
        print(row, flush=True)


if __name__ == "__main__":
    main()
