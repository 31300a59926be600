"""MS COCO: instances JSON in the layouts of 2014 and 2017 (Lin et al., ECCV 2014). Labels from category ids; truth masks are drawn from the polygons and run lengths (no torch).

The files are read as a stream; what is kept of an object is its class, its area and its outline as run lengths, so memory grows with the number of objects, not with classes × images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from wsss.files.coco_ids import LARGEST, image_number
from wsss.files.imaging import save_image, save_mask
from wsss.files.limits import MOST_IMAGES, MOST_PIXELS
from wsss.files.mask_values import IGNORE
from wsss.files.rle import encode
from wsss.runtime.console import log, progress, warn
from wsss.runtime.processes import map_blocks
from wsss.runtime.text import short
from wsss.settings.sections import CocoSection
from wsss.stages.dataset.checks import (
    LISTED,
    MOST_CLASSES,
    DataError,
    Faults,
    SourceRow,
    link_fault,
    nearest,
    path_fault,
)
from wsss.stages.dataset.json_stream import check_members, members
from wsss.stages.dataset.names import check_names
from wsss.stages.dataset.sources import Source

Number = int | float | str
"""An id of an image, as files spell it."""
MOST_CATEGORIES = 10_000
"""Of an instances file, used or not."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One annotated object: class id 1..C (0: a class that is left out), whether it is a crowd, area in px, and its outline as compressed run lengths."""

    class_id: int
    crowd: bool
    area: float
    outline: bytes


@dataclass(kw_only=True)
class CocoImage:
    """One image of the JSON file and what stands on it."""

    file: str
    size: tuple[int, int]
    things: list[Thing] = field(default_factory=list)


def read_coco(settings: CocoSection, faults: Faults, *, folder: Path, workers: int) -> Source:
    """Images, labels and truth of one or two instances files.

    An image's labels are the classes of its objects that are no crowds and have a pixel. Images without any are left out and counted, as are objects without a pixel: those wholly outside the
    image, and outlines without area. Truth: of overlapping objects the smaller is on top; a crowd is 255 where no other object is. Outlines are cut at the image's border.

    Args:
        settings: Files, folders and classes.
        faults: Receives what is wrong.
        folder: Where truth masks are drawn: SPLIT/masks and SPLIT/instances.
        workers: Processes that draw.

    Returns:
        The source; its images may be missing or broken.

    Raises:
        DataError: If a file is missing or no JSON of that form.
    """
    root, names = Path(settings.root), list(settings.classes)
    rows: list[SourceRow] = []
    found: dict[str, dict[Number, CocoImage]] = {}
    category_ids: dict[str, int] = {}
    given = {
        "train": (settings.train_annotations, settings.train_images),
        "val": (settings.val_annotations, settings.val_images),
    }
    for split, (file, images) in given.items():
        if not file:
            continue
        path = root / file
        if wrong := link_fault(path, file):
            raise DataError(f"dataset.coco.{split}_annotations: {wrong}")
        known = read_categories(path)
        names = names or [known[k] for k in sorted(known)]
        category_ids = category_ids or {name: k for k, name in known.items()}
        if split == "train":
            check_names(names, faults, where="dataset.coco.classes" if settings.classes else path.name)
        for name in names:
            if name not in known.values():
                faults.add("class", f"{path.name}: no category {name!r}{nearest(name, known.values())}")
        by_number = read_coco_images(
            path, {k: names.index(n) + 1 if n in names else 0 for k, n in known.items()}, faults
        )
        rows += _rows(by_number, names, faults, where=path.name, split=split, images=root / images)
        found[split] = by_number
    if not len(faults):
        for split, by_number in found.items():
            _draw(rows, by_number, split=split, folder=folder, workers=workers)
    present = {row.image_id for row in rows if row.mask is not None}
    log.info("%s: %d images with truth", root, len(present))
    kept = tuple(category_ids.get(name, 0) for name in names) if numbers_end_names(found.values()) else ()
    return Source(
        where=str(root), names=names, rows=rows, category_ids=kept if all(0 < k <= LARGEST for k in kept) else ()
    )


# ---------------------------------------------------------------- the JSON file


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
        where = f"{path.name}: images[{k}]"
        if k >= MOST_IMAGES:
            raise DataError(f"{path}: more than {MOST_IMAGES:,} images")
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
            faults.add(
                "json",
                f"{where}: {file!r} has (height, width) {short(size)}, expected positive numbers, at most {MOST_PIXELS:,} pixels",
            )
        else:
            by_number[number] = CocoImage(file=file, size=size)
    if not by_number:
        faults.add("json", f"{path.name}: no list `images`, or it is empty")
    bare = []
    for k, entry in enumerate(progress(members(path, "annotations.item"), what=f"annotations of {path.name}")):
        if _add_thing(entry, by_number, class_of, faults, where=f"{path.name}: annotations[{k}]"):
            bare.append(k)
    if bare:
        places = _listed([f"annotations[{k}]" for k in bare[:LISTED]], len(bare))
        warn(
            "%s: %d objects without a pixel (wholly outside the image, or an outline without area) are left out: %s",
            path.name,
            len(bare),
            places,
        )
    return by_number


def _listed(names: Sequence[str], count: int) -> str:
    """The first of `count` names, and how many more there are."""
    more = f" and {count - LISTED} more" if count > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _add_thing(
    entry: Any,
    by_number: Mapping[Number, CocoImage],
    class_of: Mapping[int | float, int],
    faults: Faults,
    *,
    where: str,
) -> bool:
    """Put an object to its image, unless it has no pixel: nothing of it can be seen, so it is no label. Returns whether that is so; of crowds, which are no labels anyway, never."""
    crowd, outline = False, None
    try:
        number, category, crowd, outline = (
            entry["image_id"],
            entry["category_id"],
            bool(entry.get("iscrowd", 0)),
            entry["segmentation"],
        )
    except (KeyError, TypeError, AttributeError):
        number = category = None
    if not isinstance(number, Number) or not isinstance(category, int | float):
        faults.add("json", f"{where} is {short(entry)}, expected image_id, category_id and segmentation")
    elif number not in by_number:
        faults.add("json", f"{where}: image_id {number} is not among `images`")
    elif category not in class_of:
        faults.add("class", f"{where}: category_id {category} is not among `categories`")
    elif class_of[category]:
        try:
            run_lengths = encode(outline, size=by_number[number].size)
        except (ValueError, MemoryError) as error:
            faults.add("json", f"{where}: {error or 'its outline does not fit into memory'}")
            return False
        area = float(coco_mask.area(run_lengths))
        if not area:
            return not crowd
        by_number[number].things.append(
            Thing(class_id=class_of[category], crowd=crowd, area=area, outline=run_lengths["counts"])
        )
    return False


def numbers_end_names(found: Iterable[Mapping[Number, CocoImage]]) -> bool:
    """Whether the images' ids can be told from their image ids: each file name ends in its image's id, and no id stands in two of the files."""
    numbers: set[Number] = set()
    for by_number in found:
        if not numbers.isdisjoint(by_number) or not all(
            image_number(Path(p.file).stem) == number for number, p in by_number.items()
        ):
            return False
        numbers.update(by_number)
    return True


# ---------------------------------------------------------------- rows and masks


def _rows(
    by_number: Mapping[Number, CocoImage], names: Sequence[str], faults: Faults, *, where: str, split: str, images: Path
) -> list[SourceRow]:
    rows, bare = [], []
    for number, coco_image in by_number.items():
        labels = tuple(names[c - 1] for c in sorted({t.class_id for t in coco_image.things if not t.crowd}))
        place = f"{where} image {number}"
        if wrong := path_fault(coco_image.file, images):
            faults.add("path", f"{place}: {wrong}")
        elif not labels:
            bare.append(coco_image.file)
        elif sum(not t.crowd for t in coco_image.things) > MOST_CLASSES:
            faults.add(
                "json",
                f"{place}: {len(coco_image.things)} objects, at most {MOST_CLASSES} fit into an instance mask; leave some classes out (dataset.coco.classes)",
            )
        else:
            rows.append(
                SourceRow(
                    where=place,
                    image_id=Path(coco_image.file).stem,
                    split=split,
                    labels=labels,
                    image=images / coco_image.file,
                    size=coco_image.size,
                    measured=True,
                )
            )
    if bare:
        said = "(crowds and objects without a pixel do not count)"
        warn(
            "%s: %d images without an object of the classes %s are left out: %s",
            where,
            len(bare),
            said,
            _listed(bare, len(bare)),
        )
    return rows


def _draw(
    rows: list[SourceRow], by_number: Mapping[Number, CocoImage], *, split: str, folder: Path, workers: int
) -> None:
    """Draw the truth of the split's rows, and put its places into them."""
    by_file = {Path(p.file).stem: p for p in by_number.values()}
    mine = [k for k, row in enumerate(rows) if row.split == split]
    if missing := [row for row in (rows[k] for k in mine) if not row.image.is_file()]:
        log.info("%s: %d images are missing, no truth is drawn", split, len(missing))
        return
    for kind in ("masks", "instances"):
        (folder / split / kind).mkdir(parents=True, exist_ok=True)
    tasks = [(rows[k].image_id, by_file[rows[k].image_id]) for k in mine]
    drawn = map_blocks(partial(draw_block, folder=folder / split), tasks, workers=workers)
    for k, (mask, instances) in zip(mine, progress(drawn, what=f"truth of {split}", total=len(mine)), strict=True):
        rows[k] = replace(rows[k], mask=mask, instances=instances)


def draw_block(tasks: Sequence[tuple[str, CocoImage]], *, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Draw the truth of some images.

    Args:
        tasks: image_id and image.
        folder: Has masks/ and instances/.

    Yields:
        The two files of each image.
    """
    for image_id, coco_image in tasks:
        planes = draw(coco_image)
        paths = folder / "masks" / f"{image_id}.png", folder / "instances" / f"{image_id}.png"
        save_mask(paths[0], planes[0])
        save_image(paths[1], Image.fromarray(planes[1]))
        yield paths


def draw(coco_image: CocoImage) -> tuple[np.ndarray, np.ndarray]:
    """Truth of one image.

    Args:
        coco_image: Its objects.

    Returns:
        mask (H, W) uint8: 0 background, 1..C, 255 crowds; instances (H, W) uint8: 0, k = object k from the largest to the smallest.
    """
    mask, instances = (np.zeros(coco_image.size, np.uint8) for _ in range(2))
    for thing in coco_image.things:
        if thing.crowd:
            mask[_inside(thing, coco_image.size)] = IGNORE
    whole = sorted((t for t in coco_image.things if not t.crowd), key=lambda t: -t.area)
    for k, thing in enumerate(whole, 1):
        inside = _inside(thing, coco_image.size)
        mask[inside], instances[inside] = thing.class_id, k
    return mask, instances


def _inside(thing: Thing, size: tuple[int, int]) -> np.ndarray:
    return coco_mask.decode({"size": list(size), "counts": thing.outline}).astype(bool)
