"""Where images and labels come from: VOC-shaped folders, and a folder with a CSV. Reads lists and labels only, no image (no torch of its own)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from wsss.files.limits import MOST_ANNOTATION_BYTES, MOST_TABLE_BYTES, id_fault, regular
from wsss.runtime.console import log, warn
from wsss.settings.sections import FolderSection, VocSection
from wsss.stages.dataset.checks import DataError, Faults, SourceRow, link_fault, path_fault
from wsss.stages.dataset.names import check_names, check_similar
from wsss.stages.dataset.table import Table

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The 20 classes of PASCAL VOC, ids 1..20."""
SPLITS = ("train", "val")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set as described, not yet checked.

    Attributes:
        where: What was read, for messages.
        names: Foreground classes, ids 1..C.
        rows: All images.
        category_ids: Of COCO, the annotation file's ids of `names`, if the image ids end in the file's own numbers of images; else empty.
    """

    where: str
    names: list[str]
    rows: list[SourceRow]
    category_ids: tuple[int, ...] = ()


# ---------------------------------------------------------------- VOC


def read_voc(settings: VocSection, faults: Faults) -> Source:
    """A folder laid out as VOCdevkit/VOC2012.

    Labels are the object names of Annotations/ID.xml, difficult ones included. A mask is SegmentationClassAug/ID.png or else
    SegmentationClass/ID.png, instances are SegmentationObject/ID.png; an image without them has none.

    Args:
        settings: Root and lists.
        faults: Receives what is wrong.

    Returns:
        The source; its images may be missing or broken.

    Raises:
        DataError: If the root does not exist.
    """
    root = Path(settings.root)
    if not (root / "JPEGImages").is_dir():
        raise DataError(
            f"dataset.voc.root {root}: no folder JPEGImages in it; give the VOC2012 folder (`wsss download voc` fetches the official one)"
        )
    names = _voc_names(root)
    check_names(names, faults, where="classes.txt")
    lists = {
        "train": _voc_list(root, settings.train, faults),
        "val": _voc_list(root, settings.val, faults) if settings.val else {},
    }
    measured = _voc_list(root, settings.measure, faults) if settings.measure else lists["train"]
    for image_id in measured.keys() - lists["train"].keys():
        faults.add(
            "measure",
            f"{measured[image_id]}: image {image_id!r} is not in the training list {settings.train}; dataset.voc.measure must be part of it",
        )
    folders = {
        name: _files(root / name) for name in ("SegmentationClassAug", "SegmentationClass", "SegmentationObject")
    }
    rows = []
    for split, ids in lists.items():
        for image_id, where in ids.items():
            if id_fault(image_id):
                faults.add(
                    "path",
                    f"{where}: {image_id!r} is no image id; expected one name a line, without folders, at most 200 bytes",
                )
                continue
            if (row := _voc_row(root, image_id, folders, faults, where=where, split=split)) is not None:
                rows.append(replace(row, measured=row.mask is not None and (split == "val" or image_id in measured)))
    unmasked = sum(row.mask is None for row in rows if row.split == "val" or row.image_id in measured)
    if unmasked:
        warn(
            "%s: %d images that are to be measured have no truth mask; they are left out of the figures", root, unmasked
        )
    return Source(where=str(root), names=names, rows=rows)


def _voc_row(
    root: Path, image_id: str, folders: dict[str, set[str]], faults: Faults, *, where: str, split: str
) -> SourceRow | None:
    """One image with its labels; None if one of its files is a link out of its folder, and may not be read."""

    def first(*names: str) -> Path | None:
        return next((root / n / f"{image_id}.png" for n in names if f"{image_id}.png" in folders[n]), None)

    annotation, image = root / "Annotations" / f"{image_id}.xml", root / "JPEGImages" / f"{image_id}.jpg"
    mask, instances = first("SegmentationClassAug", "SegmentationClass"), first("SegmentationObject")
    outside = set()
    for path in filter(None, (annotation, image, mask, instances)):
        if wrong := link_fault(path):
            faults.add("path", f"{where}: {wrong}")
            outside.add(path)
    labels = () if annotation in outside else _voc_labels(annotation, faults, where=where)
    return (
        None
        if outside
        else SourceRow(
            where=where, image_id=image_id, split=split, labels=labels, image=image, mask=mask, instances=instances
        )
    )


def _voc_names(root: Path) -> list[str]:
    """classes.txt without its background line, or the 20 names."""
    path = root / "classes.txt"
    if not path.is_file():
        return list(VOC_CLASSES)
    if wrong := link_fault(path):
        raise DataError(f"{path}: {wrong}")
    names = [line.strip() for line in read_lines(path) if line.strip()]
    return names[1:] if names[:1] == ["background"] else names


def read_lines(path: Path) -> list[str]:
    """The lines of a list, without blank ones at its end.

    Raises:
        DataError: If it is no ordinary file, too large, or not UTF-8.
    """
    try:
        regular(path, most=MOST_TABLE_BYTES)
        return path.read_text(encoding="utf-8").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}); expected one name a line") from None
    except ValueError as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _voc_list(root: Path, name: str, faults: Faults) -> dict[str, str]:
    """Ids of one list, each with its place; the DeepLab form `/JPEGImages/ID.jpg /SegmentationClassAug/ID.png` is read too."""
    folder = root / "ImageSets" / "Segmentation"
    path = folder / f"{name}.txt"
    if wrong := link_fault(path, name):
        faults.add("list", f"{path}: {wrong}")
        return {}
    if not path.is_file():
        found = ", ".join(sorted(p.stem for p in folder.glob("*.txt"))) or "none"
        faults.add("list", f"{path}: no such list; there are: {found}")
        return {}
    ids: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        match = re.fullmatch(r"/?JPEGImages/([^/\s]+)\.jpg(\s.*)?", line.strip())
        image_id = match.group(1) if match else line.strip()
        where = f"{path.name} line {number}"
        if image_id in ids:
            faults.add("duplicate", f"{where}: image {image_id!r} is listed before ({ids[image_id]}); keep one")
        elif image_id:
            ids[image_id] = where
    if not ids:
        faults.add(
            "list", f"{path}: the list is empty; name another one (dataset.voc.val and dataset.voc.measure may be '')"
        )
    return ids


def _voc_labels(path: Path, faults: Faults, *, where: str) -> tuple[str, ...]:
    """Names of the objects in one annotation, each once; parts of objects (head, hand, foot) do not count."""
    try:
        regular(path, most=MOST_ANNOTATION_BYTES)
        objects = ElementTree.parse(path).getroot().findall("object")
    except FileNotFoundError:
        faults.add("annotation", f"{where}: {path} does not exist; labels come from it")
        return ()
    except (ParseError, DefusedXmlException, LookupError, OSError, ValueError) as error:  # LookupError: of an encoding
        faults.add("annotation", f"{where}: {path} cannot be read: {error or type(error).__name__}")
        return ()
    return tuple(dict.fromkeys((o.findtext("name") or "").strip() for o in objects))


def _files(folder: Path) -> set[str]:
    """Names in a folder, listed once: asking for 10,000 files one by one is slow on a network disk."""
    return set(os.listdir(folder)) if folder.is_dir() else set()


# ---------------------------------------------------------------- folder and CSV


def read_folder(settings: FolderSection, faults: Faults) -> Source:
    """A folder of images and a CSV of labels, in either form.

    The image id is the path without its suffix, "/" replaced by "__".

    Args:
        settings: Root, CSV, classes and masks.
        faults: Receives what is wrong.

    Returns:
        The source; its images may be missing or broken.

    Raises:
        DataError: If the CSV is missing or its header cannot be used.
    """
    root, path = Path(settings.root), Path(settings.root) / settings.labels
    if wrong := link_fault(path, settings.labels):
        raise DataError(f"dataset.folder.labels: {wrong}")
    table = Table(path, faults)
    names = list(settings.classes) or table.class_names()
    check_names(names, faults, where="dataset.folder.classes" if settings.classes else path.name)
    columns = [] if table.has("labels") else table.class_columns(names, faults, given=bool(settings.classes))
    masks = _mask_folder(settings, root)
    rows = []
    for where, cells in table.rows:
        text = cells["image"]
        wrong = (
            path_fault(text, root)
            if PurePosixPath(text).name
            else f"the cell `image` holds {text!r}, no file name; give a path, or delete the row"
        )
        if wrong:
            faults.add("path", f"{where}: {wrong}")
            continue
        image_id = "__".join(PurePosixPath(text).with_suffix("").parts)
        split = cells.get("split", "train")
        if split not in SPLITS:
            faults.add("split", f"{where}: split {split!r} is neither 'train' nor 'val'")
            continue
        labels = table.labels(cells, columns)
        mask = _folder_mask(root, cells.get("mask", ""), masks, image_id, faults, where=where)
        rows.append(
            SourceRow(
                where=where,
                image_id=image_id,
                split=split,
                labels=labels,
                image=root / text,
                mask=mask,
                measured=mask is not None,
            )
        )
    if not settings.classes:
        check_similar(rows, names, faults, where=path.name)
    if masks is not None and rows and not any(row.mask for row in rows):
        faults.add(
            "mask",
            f"dataset.folder.masks {masks[0]}: no mask of any image in it; expected names like {rows[0].image_id}.png",
        )
    return Source(where=str(path), names=names, rows=rows)


def _mask_folder(settings: FolderSection, root: Path) -> tuple[Path, set[str]] | None:
    """The folder of truth masks and what is in it."""
    if not settings.masks:
        return None
    folder = Path(settings.masks)
    if not folder.is_dir():
        hint = (
            f"; did you mean {root / folder}?" if (root / folder).is_dir() else "; leave it empty if there are no masks"
        )
        raise DataError(f"dataset.folder.masks {folder}: no such folder{hint}")
    log.info("truth masks: %s", folder)
    return folder, _files(folder)


def _folder_mask(
    root: Path, cell: str, masks: tuple[Path, set[str]] | None, image_id: str, faults: Faults, *, where: str
) -> Path | None:
    """The mask that the row names, or else the one in the folder of masks."""
    base, name = (
        (root, cell)
        if cell
        else (masks[0], f"{image_id}.png")
        if masks and f"{image_id}.png" in masks[1]
        else (root, "")
    )
    if name and (wrong := path_fault(name, base)):
        faults.add("path", f"{where}: mask {wrong}")
        return None
    return base / name if name else None
