"""COCO's instances files, read as a stream (no torch).

What is kept of an object is its class, its area and its outline as run lengths. So memory grows with the number of
objects, not with classes × images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from wsss.files.limits import MOST_IMAGES, MOST_PIXELS
from wsss.files.rle import encode
from wsss.runtime.console import progress, warn
from wsss.runtime.text import short
from wsss.stages.dataset.faults import LISTED, DataError, Faults
from wsss.stages.dataset.json_stream import check_members, members

Number = int | float | str
"""COCO's id of an image, as files spell it."""
MOST_CATEGORIES = 10_000
"""Most categories of an instances file, used or not."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One annotated object.

    Attributes:
        class_id: 1..C; 0 for a class that is left out.
        crowd: Whether it is a crowd: many objects in one outline.
        area: Its area, px.
        outline: Compressed run lengths.
    """

    class_id: int
    crowd: bool
    area: float
    outline: bytes


@dataclass(kw_only=True)
class CocoImage:
    """One image of the JSON file: its file's name, its size (height, width) in px, and the objects on it."""

    file: str
    size: tuple[int, int]
    things: list[Thing] = field(default_factory=list)


def read_categories(path: Path) -> dict[int, str]:
    """Category id to name.

    Raises:
        DataError: If there are none, a member is no category, or the file is not within the limits.
    """
    check_members(path)
    found: dict[int, str] = {}
    for k, entry in enumerate(members(path, "categories.item")):
        if k >= MOST_CATEGORIES:
            raise DataError(f"{path}: more than {MOST_CATEGORIES:,} categories; expected an instances file of COCO")
        if not (isinstance(entry, Mapping) and isinstance(entry.get("id"), int) and isinstance(entry.get("name"), str)):
            raise DataError(f"{path}: categories[{k}] is {short(entry)}, expected an object with id and name")
        if entry["id"] in found:
            raise DataError(f"{path}: categories[{k}]: id {entry['id']} is {found[entry['id']]!r} already; keep one")
        found[entry["id"]] = entry["name"]
    if not found:
        raise DataError(f"{path}: no list `categories`; expected an instances file of COCO (instances_train2014.json)")
    return found


def class_ids(categories: Mapping[int, str], names: Sequence[str]) -> dict[int | float, int]:
    """Category id to class id: 1..C in the order of `names`, 0 for categories that are not among them."""
    return {k: names.index(name) + 1 if name in names else 0 for k, name in categories.items()}


def count_images(path: Path) -> int:
    """Images of an instances file, those without objects too.

    Raises:
        DataError: If it is missing or no JSON.
    """
    check_members(path)
    return sum(1 for _ in members(path, "images.item.id"))


def read_coco_images(path: Path, class_of: Mapping[int | float, int], faults: Faults) -> dict[Number, CocoImage]:
    """Images by COCO's number, with their objects.

    Args:
        path: The file.
        class_of: Category id to class id, 0 for classes that are left out.
        faults: Receives entries that cannot be used.
    """
    by_number: dict[Number, CocoImage] = {}
    for k, entry in enumerate(members(path, "images.item")):
        if k >= MOST_IMAGES:
            raise DataError(f"{path}: more than {MOST_IMAGES:,} images")
        _add_image(entry, by_number, faults, where=f"{path.name}: images[{k}]")
    if not by_number:
        faults.add("json", f"{path.name}: no list `images`, or it is empty")
    bare = []
    for k, entry in enumerate(progress(members(path, "annotations.item"), what=f"annotations of {path.name}")):
        if _add_thing(entry, by_number, class_of, faults, where=f"{path.name}: annotations[{k}]"):
            bare.append(k)
    if bare:
        places = first_of([f"annotations[{k}]" for k in bare[:LISTED]], len(bare))
        what = "objects without a pixel (wholly outside the image, or an outline without area)"
        warn("%s: %d %s are left out: %s", path.name, len(bare), what, places)
    return by_number


def first_of(names: Sequence[str], count: int) -> str:
    """The first of `count` names, and how many more there are."""
    more = f" and {count - LISTED} more" if count > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _add_image(entry: Any, by_number: dict[Number, CocoImage], faults: Faults, *, where: str) -> None:
    """Put one entry of `images` to the others."""
    try:
        size = int(entry["height"]), int(entry["width"])
        number, file = entry["id"], entry["file_name"]
    except (KeyError, TypeError, ValueError, OverflowError):
        number = file = None
    if not isinstance(number, Number) or not isinstance(file, str):
        faults.add("json", f"{where} is {short(entry)}, expected id, file_name, height and width")
    elif number in by_number:
        faults.add("duplicate", f"{where}: id {number} is {by_number[number].file!r} already; keep one")
    elif min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
        expected = f"expected positive numbers, at most {MOST_PIXELS:,} pixels"
        faults.add("json", f"{where}: {file!r} has (height, width) {short(size)}, {expected}")
    else:
        by_number[number] = CocoImage(file=file, size=size)


def _add_thing(
    entry: Any,
    by_number: Mapping[Number, CocoImage],
    class_of: Mapping[int | float, int],
    faults: Faults,
    *,
    where: str,
) -> bool:
    """Put an object to its image, unless it has no pixel: nothing of it can be seen, so it is no label.

    Returns:
        Whether it was left out for that reason. False for crowds, which are no labels anyway.
    """
    try:
        number, category, outline = entry["image_id"], entry["category_id"], entry["segmentation"]
        crowd = bool(entry.get("iscrowd", 0))
    except (KeyError, TypeError, AttributeError):
        number = category = outline = None
        crowd = False
    if not isinstance(number, Number) or not isinstance(category, int | float):
        faults.add("json", f"{where} is {short(entry)}, expected image_id, category_id and segmentation")
    elif number not in by_number:
        faults.add("json", f"{where}: image_id {number} is not among `images`")
    elif category not in class_of:
        faults.add("class", f"{where}: category_id {category} is not among `categories`")
    elif class_id := class_of[category]:
        try:
            run_lengths = encode(outline, size=by_number[number].size)
        except (ValueError, MemoryError) as error:
            faults.add("json", f"{where}: {error or 'its outline does not fit into memory'}")
            return False
        area = float(coco_mask.area(run_lengths))
        if not area:
            return not crowd
        thing = Thing(class_id=class_id, crowd=crowd, area=area, outline=run_lengths["counts"])
        by_number[number].things.append(thing)
    return False
