"""A data set of a few small images as index_images would leave it, for the tests of stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wsss.files.index import INDEX_COLUMNS
from wsss.files.text_files import write_csv, write_json


def write_tiny_set(
    folder: Path, images: Mapping[str, tuple[np.ndarray, Sequence[int]]], *, num_classes: int = 3
) -> tuple[Path, Path]:
    """Write images, index.csv, classes.csv, statistics.json and one shard.

    Args:
        folder: Where.
        images: image_id to ((H, W, 3) uint8 RGB, class ids 1..C).
        num_classes: C.

    Returns:
        index.csv and the shard file of all images.
    """
    dataset = folder / "dataset"
    dataset.mkdir(parents=True)
    names = ["background", *(f"class{k}" for k in range(1, num_classes + 1))]
    rows = []
    for image_id, (image_u8, class_ids) in images.items():
        Image.fromarray(image_u8).save(dataset / f"{image_id}.png")
        height, width = image_u8.shape[:2]
        rows.append(
            dict.fromkeys(INDEX_COLUMNS, "")
            | {
                "image_id": image_id,
                "split": "train",
                "measured": 0,
                "height": height,
                "width": width,
                "labels": ";".join(names[k] for k in class_ids),
                "image": f"{image_id}.png",
            }
        )
    write_csv(
        dataset / "classes.csv", ("class_id", "name"), [{"class_id": k, "name": name} for k, name in enumerate(names)]
    )
    write_json(dataset / "statistics.json", {"mean_rgb": [127.0, 127.0, 127.0]})
    write_csv(dataset / "shards" / "train-0.csv", ("image_id",), [{"image_id": i} for i in images])
    write_csv(dataset / "index.csv", INDEX_COLUMNS, rows)
    return dataset / "index.csv", dataset / "shards" / "train-0.csv"
