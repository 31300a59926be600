"""Stage: the instances of all shards as one COCO file and as images of instance numbers, for users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from wsss.files.coco_ids import image_number, read_category_ids
from wsss.files.errors import ArtefactError
from wsss.files.imaging import save_mask
from wsss.files.index import ImageIndex, ImageRow
from wsss.files.json_files import read_instances
from wsss.files.mask_values import MOST_NUMBERED
from wsss.files.rle import encode, unpack
from wsss.files.text_files import write_json
from wsss.runtime.console import progress


def export_instances(*, index: Path, instances: list[Path], output: Path) -> None:
    """Write instances.json (COCO: images, categories, annotations with score) and a PNG for each image.

    If the data set keeps the ids of COCO's annotation file (`wsss.files.coco_ids`), images and categories have these.
    Otherwise images are numbered from 1, and categories are the classes 1..C.

    Args:
        index: The data set's index.csv.
        instances: What retrieve_instances wrote, all shards.
        output: instances.json. The PNGs are beside it, in images/. They hold 0 for background and k for the image's
            k-th best instance; where instances overlap, the better one is on top.

    Raises:
        ArtefactError: If an input is missing, damaged or does not fit.
    """
    data = ImageIndex(index)
    kept = read_category_ids(data.folder / "classes.csv")
    category_ids = kept or range(data.num_classes + 1)
    folder = output.parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for path in instances:
        for image_id, entries in progress(read_instances(path, num_classes=data.num_classes).items(), what="instances"):
            if image_id not in data.rows:
                raise ArtefactError(
                    f"{path}: image {image_id} is not in {index}; delete it and rerun retrieve_instances"
                )
            row = data.rows[image_id]
            number = image_number(image_id) if kept else len(images) + 1
            if number is None:
                raise ArtefactError(
                    f"{index}: image {image_id} does not end in COCO's number for it, although classes.csv has COCO's "
                    "category ids; rerun index_images"
                )
            images.append(_image(row, number=number))
            try:
                for entry in entries:
                    category, place = category_ids[entry["category_id"]], len(annotations) + 1
                    annotations.append(_annotation(entry, row, category=category, image=number, number=place))
                numbers = numbered_image(entries, row)
            except ValueError as error:
                remedy = f"`snakemake {path} --forcerun {path}` makes it again"
                raise ArtefactError(f"{path}: image {image_id}: {error}; {remedy}") from None
            save_mask(folder / f"{image_id}.png", numbers)
    _remove_others(folder, keep=[image["image_id"] for image in images])
    categories = [{"id": category_ids[k], "name": name} for k, name in enumerate(data.class_names) if k]
    write_json(output, {"images": images, "categories": categories, "annotations": annotations})


def numbered_image(entries: list[dict[str, Any]], row: ImageRow) -> np.ndarray:
    """Paint an image's instances, best first: (H, W) uint8 of 0, or the number of the best instance there."""
    numbers = np.zeros((row.height, row.width), np.uint8)
    masks = unpack([e["segmentation"] for e in entries[:MOST_NUMBERED]], size=numbers.shape)
    for k in range(len(masks), 0, -1):
        numbers[masks[k - 1]] = k
    return numbers


def _image(row: ImageRow, *, number: int) -> dict[str, Any]:
    size = {"height": row.height, "width": row.width}
    return {"id": number, "image_id": row.image_id, "file_name": row.image.name, **size}


def _remove_others(folder: Path, *, keep: list[str]) -> None:
    """Delete the PNGs of an earlier run whose images are no longer in the data set."""
    wanted = {f"{image_id}.png" for image_id in keep}
    for stale in folder.glob("*.png"):
        if stale.name not in wanted:
            stale.unlink()


def _annotation(entry: dict[str, Any], row: ImageRow, *, category: int, image: int, number: int) -> dict[str, Any]:
    run_lengths = encode(entry["segmentation"], size=(row.height, row.width))
    area, box = float(coco_mask.area(run_lengths)), [float(v) for v in coco_mask.toBbox(run_lengths)]
    return {"id": number, "image_id": image, **entry, "category_id": category, "area": area, "bbox": box, "iscrowd": 0}
