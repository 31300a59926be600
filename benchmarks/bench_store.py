"""The packed store against the field's pickled dict an image, in one run.

`python benchmarks/bench_store.py [--images 96]`

IRN writes {keys, cam (stride 4, float32), high_res (image's size, float32)} an image with np.save.
It reads them with allow_pickle. The store holds float16 maps on the feature grid.
Maps are drawn: smooth blobs of 1 to 3 classes with 1 % noise, images of 375 x 500.
The page cache is warm for all: this is work of the processor, not of the disk.
The writer flushes to disk and reads every map back against its checksum.
np.save does neither, so a row says what that costs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from wsss.files.imaging import resize_maps
from wsss.files.store import MapReader, MapWriter

SIZE = (375, 500)
Maps = dict[str, tuple[np.ndarray, np.ndarray]]


def draw_maps(count: int, *, stride: int) -> Maps:
    """image_id to (class ids (K,), maps (K, h, w) float32) on the grid of `stride`."""
    rng, out = np.random.default_rng(0), {}
    h, w = (-(-s // 16) for s in SIZE)
    y, x = np.mgrid[:h, :w]
    for k in range(count):
        class_ids = np.sort(rng.choice(np.arange(1, 21), rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1]), replace=False))
        blobs = [np.exp(-(((y - rng.uniform(0, h)) / 5) ** 2) - ((x - rng.uniform(0, w)) / 6) ** 2) for _ in class_ids]
        maps = resize_maps(np.stack(blobs).astype(np.float32), size=(-(-SIZE[0] // stride), -(-SIZE[1] // stride)))
        out[f"2007_{k:06d}"] = (class_ids, (maps * 8 + rng.normal(0, 0.08, maps.shape)).astype(np.float32))
    return out


def write_irn(folder: Path, maps: Maps) -> None:
    """One pickled dict an image, with the maps at the image's size."""
    for image_id, (class_ids, values) in maps.items():
        np.save(
            folder / f"{image_id}.npy", {"keys": class_ids, "cam": values, "high_res": resize_maps(values, size=SIZE)}
        )


def write_npy(folder: Path, maps: Maps) -> None:
    """One pickled dict an image, without high_res."""
    for image_id, (class_ids, values) in maps.items():
        np.save(folder / f"{image_id}.npy", {"keys": class_ids, "cam": values})


def read_npy(folder: Path, maps: Maps) -> None:
    """All arrays of every dict."""
    for image_id in maps:
        np.load(folder / f"{image_id}.npy", allow_pickle=True).item()


def write_npy_flushed(folder: Path, maps: Maps) -> None:
    """As write_npy, each file flushed to disk and read back."""
    for image_id, (class_ids, values) in maps.items():
        path = folder / f"{image_id}.npy"
        with path.open("wb") as file:
            np.save(file, {"keys": class_ids, "cam": values})
            os.fsync(file.fileno())
        np.load(path, allow_pickle=True).item()


def write_store(folder: Path, maps: Maps) -> None:
    """Ours, one shard."""
    with MapWriter(folder / "shard.h5", stage="extract_scores", settings={}) as writer:
        for image_id, (class_ids, values) in maps.items():
            writer.write(image_id, class_ids, scores=values.astype(np.float16))


def read_store(folder: Path, maps: Maps) -> None:
    """Ours, every map checked."""
    with MapReader(folder / "shard.h5") as reader:
        for image_id in maps:
            reader.read(image_id)


def seconds(function: Callable[[], object]) -> float:
    """Time of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument(
        "--repeats", type=int, default=5, help="rounds over all layouts, which take turns; medians are printed"
    )
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    fine, coarse = (draw_maps(arguments.images, stride=s) for s in (4, 16))
    layouts = {
        "npy dict, cam stride 4 + high_res, float32 (IRN)": (write_irn, read_npy, fine),
        "npy dict, cam stride 4, float32": (write_npy, read_npy, fine),
        "the same, flushed and read back": (write_npy_flushed, read_npy, fine),
        "store, stride 4, float16": (write_store, read_store, fine),
        "store, stride 16, float16": (write_store, read_store, coarse),
    }
    sizes, turns = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.repeats):
            turn = {}
            for k, (name, (write, read, maps)) in enumerate(layouts.items()):
                place = Path(folder) / str(k)
                place.mkdir(exist_ok=True)
                turn[name] = (
                    seconds(lambda w=write, p=place, m=maps: w(p, m)),
                    seconds(lambda r=read, p=place, m=maps: r(p, m)),
                )
                sizes[name] = sum(p.stat().st_size for p in place.iterdir())
            turns.append(turn)
    base = next(iter(layouts))
    print(f"{arguments.images} images\n")
    print("| layout | KiB an image | smaller | write | read | ms write, read |\n|---|---|---|---|---|---|")
    for name in layouts:
        write, read = (median(t[base][k] / t[name][k] for t in turns) for k in (0, 1))
        spent = ", ".join(f"{median(t[name][k] for t in turns) / arguments.images * 1e3:.2f}" for k in (0, 1))
        size, smaller = sizes[name] / arguments.images / 1024, sizes[base] / sizes[name]
        print(f"| {name} | {size:.1f} | x{smaller:.3g} | x{write:.2g} | x{read:.2g} | {spent} |")


if __name__ == "__main__":
    main()
