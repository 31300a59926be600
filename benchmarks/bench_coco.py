"""Reading a COCO instances file: the streamed reader against pycocotools.COCO, which loads it whole.

`python benchmarks/bench_coco.py [--images 4000 16000]`

The files are drawn with COCO 2014's own proportions: 7.3 objects an image, outlines of 24 corners, 640 x 480 images.
Each way runs in a process of its own; memory is its peak, less that of an empty file.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

OBJECTS, CORNERS, SIZE, CLASSES = 7.3, 24, (480, 640), 80


def draw_file(path: Path, images: int) -> None:
    """An instances file of so many images, written piece by piece."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.write('{"images": [')
        for k in range(images):
            file.write(
                ("," if k else "")
                + json.dumps(
                    {"id": k, "file_name": f"COCO_train2014_{k:012d}.jpg", "height": SIZE[0], "width": SIZE[1]}
                )
            )
        file.write('], "annotations": [')
        angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        for k in range(round(images * OBJECTS)):
            centre, radius = rng.uniform((0, 0), SIZE[::-1]), rng.uniform(8, 90)
            outline = (
                (centre + radius * rng.uniform(0.7, 1.3, (CORNERS, 1)) * np.stack([np.cos(angles), np.sin(angles)], 1))
                .round(2)
                .ravel()
                .tolist()
            )
            entry = {
                "id": k,
                "image_id": int(rng.integers(images)),
                "category_id": int(rng.integers(1, CLASSES + 1)),
                "iscrowd": 0,
                "area": 1.0,
                "bbox": [0, 0, 1, 1],
            }
            file.write(("," if k else "") + json.dumps({**entry, "segmentation": [outline]}))
        file.write(
            '], "categories": ['
            + ",".join(json.dumps({"id": c, "name": f"class{c}"}) for c in range(1, CLASSES + 1))
            + "]}"
        )


def read(way: str, path: Path) -> None:
    """Read the file and print seconds and peak memory in MB."""
    if way == "stream":
        from wsss.stages.dataset.coco_json import read_categories, read_coco_images
        from wsss.stages.dataset.faults import Faults

        began = time.perf_counter()
        kept = read_coco_images(path, {k: k for k in read_categories(path)}, Faults())
    else:
        from pycocotools.coco import COCO

        import wsss.stages.dataset.coco  # the same libraries in memory

        assert wsss.stages.dataset.coco
        began = time.perf_counter()
        kept = COCO(str(path))
    seconds = time.perf_counter() - began
    assert kept
    print(json.dumps({"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def measure(way: str, path: Path) -> dict[str, float]:
    """One way in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--way", way, "--file", str(path)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Draw files of growing size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[4000, 16000])
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        read(arguments.way, arguments.file)
        return
    print("| images | file, MB | way | seconds | memory, MB | bytes an object |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        draw_file(path, 1)
        empty = {way: measure(way, path)["mb"] for way in ("stream", "whole")}
        for images in arguments.images:
            draw_file(path, images)
            for way in ("whole", "stream"):
                found = measure(way, path)
                more = found["mb"] - empty[way]
                size, each = path.stat().st_size / 1e6, more * 1e6 / images / OBJECTS
                row = f"| {images} | {size:.0f} | {way} | {found['seconds']:.1f} | {more:.0f} | {each:.0f} |"
                print(row, flush=True)


if __name__ == "__main__":
    main()
