"""Where images and labels come from: VOC-shaped folders, and a folder with a CSV. Reads lists and tags only, no picture (no torch of its own)."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from wsss.console import log, warn
from wsss.dataset.checks import DataError, Faults, SourceRow, check_names, check_similar, nearest, path_fault
from wsss.sections import FolderSection, VocSection

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The 20 classes of PASCAL VOC, ids 1..20."""
SPLITS = ("train", "val")
FOLDER_COLUMNS = ("image", "labels", "split", "mask")
"""Columns with a meaning; any other column of a CSV without `labels` is a class."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set as described, not yet checked.

    Attributes:
        where: What was read, for messages.
        names: Foreground classes, ids 1..C.
        rows: All images.
    """

    where: str
    names: list[str]
    rows: list[SourceRow]


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
        raise DataError(f"dataset.voc.root {root}: no folder JPEGImages in it; give the VOC2012 folder (`wsss download voc` fetches the official one)")
    names = _voc_names(root)
    check_names(names, faults, where="classes.txt")
    lists = {"train": _voc_list(root, settings.train, faults), "val": _voc_list(root, settings.val, faults) if settings.val else {}}
    measured = _voc_list(root, settings.measure, faults) if settings.measure else lists["train"]
    for image_id in measured.keys() - lists["train"].keys():
        faults.add("measure", f"{measured[image_id]}: image {image_id!r} is not in the training list {settings.train}; dataset.voc.measure must be part of it")
    folders = {name: _files(root / name) for name in ("SegmentationClassAug", "SegmentationClass", "SegmentationObject")}
    rows = []
    for split, ids in lists.items():
        for image_id, where in ids.items():
            if image_id == ".." or Path(image_id).name != image_id:
                faults.add("path", f"{where}: {image_id!r} is no image id; expected one name a line, without folders")
                continue
            row = _voc_row(root, image_id, folders, faults, where=where, split=split)
            rows.append(replace(row, measured=row.mask is not None and (split == "val" or image_id in measured)))
    unmasked = sum(row.mask is None for row in rows if row.split == "val" or row.image_id in measured)
    if unmasked:
        warn("%s: %d images that are to be measured have no truth mask; they are left out of the figures", root, unmasked)
    return Source(where=str(root), names=names, rows=rows)


def _voc_row(root: Path, image_id: str, folders: dict[str, set[str]], faults: Faults, *, where: str, split: str) -> SourceRow:
    def first(*names: str) -> Path | None:
        return next((root / n / f"{image_id}.png" for n in names if f"{image_id}.png" in folders[n]), None)

    row = SourceRow(
        where=where, image_id=image_id, split=split, labels=_voc_labels(root / "Annotations" / f"{image_id}.xml", faults, where=where),
        image=root / "JPEGImages" / f"{image_id}.jpg", mask=first("SegmentationClassAug", "SegmentationClass"), instances=first("SegmentationObject"),
    )  # fmt: skip
    for path in filter(None, (row.image, row.mask, row.instances)):
        if path.is_symlink() and (wrong := path_fault(path.name, path.parent)):  # the folders themselves may be links
            faults.add("path", f"{where}: {wrong}")
    return row


def _voc_names(root: Path) -> list[str]:
    """classes.txt without its background line, or the 20 names."""
    path = root / "classes.txt"
    if not path.is_file():
        return list(VOC_CLASSES)
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return names[1:] if names[:1] == ["background"] else names


def _voc_list(root: Path, name: str, faults: Faults) -> dict[str, str]:
    """Ids of one list, each with its place; the DeepLab form `/JPEGImages/ID.jpg /SegmentationClassAug/ID.png` is read too."""
    folder = root / "ImageSets" / "Segmentation"
    path = folder / f"{name}.txt"
    if not path.is_file():
        found = ", ".join(sorted(p.stem for p in folder.glob("*.txt"))) or "none"
        faults.add("list", f"{path}: no such list; there are: {found}")
        return {}
    ids: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = re.fullmatch(r"/?JPEGImages/([^/\s]+)\.jpg(\s.*)?", line.strip())
        image_id = match.group(1) if match else line.strip()
        where = f"{path.name} line {number}"
        if image_id in ids:
            faults.add("duplicate", f"{where}: image {image_id!r} is listed before ({ids[image_id]}); keep one")
        elif image_id:
            ids[image_id] = where
    if not ids:
        faults.add("list", f"{path}: the list is empty; name another one (dataset.voc.val and dataset.voc.measure may be '')")
    return ids


def _voc_labels(path: Path, faults: Faults, *, where: str) -> tuple[str, ...]:
    """Names of the objects in one annotation, each once; parts of objects (head, hand, foot) do not count."""
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except FileNotFoundError:
        faults.add("annotation", f"{where}: {path} does not exist; labels come from it")
        return ()
    except (ParseError, DefusedXmlException, OSError, ValueError) as error:
        faults.add("annotation", f"{where}: {path} cannot be read: {error or type(error).__name__}")
        return ()
    return tuple(dict.fromkeys((o.findtext("name") or "").strip() for o in objects))


def _files(folder: Path) -> set[str]:
    """Names in a folder, listed once: asking for 10,000 files one by one is slow on a network disk."""
    return set(os.listdir(folder)) if folder.is_dir() else set()


# ---------------------------------------------------------------- folder and CSV


def read_folder(settings: FolderSection, faults: Faults) -> Source:
    """A folder of images and a CSV of tags, in either form.

    The image id is the path without its suffix, "/" replaced by "__".

    Args:
        settings: Root, CSV, classes and masks.
        faults: Receives what is wrong.

    Returns:
        The source; its images may be missing or broken.

    Raises:
        DataError: If the CSV is missing or its header cannot be used.
    """
    root, path = Path(settings.root), Path(settings.root) / settings.tags
    table = _Table(path, faults)
    names = list(settings.classes) or table.class_names()
    check_names(names, faults, where="dataset.folder.classes" if settings.classes else path.name)
    columns = [] if table.has("labels") else table.class_columns(names, faults, given=bool(settings.classes))
    masks = _mask_folder(settings, root)
    rows = []
    for where, cells in table.rows:
        text = cells["image"]
        wrong = path_fault(text, root) if PurePosixPath(text).name else f"the cell `image` holds {text!r}, no file name; give a path, or delete the row"
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
        rows.append(SourceRow(where=where, image_id=image_id, split=split, labels=labels, image=root / text, mask=mask, measured=mask is not None))
    if not settings.classes:
        check_similar(rows, names, faults, where=path.name)
    if masks is not None and rows and not any(row.mask for row in rows):
        faults.add("mask", f"dataset.folder.masks {masks[0]}: no mask of any image in it; expected names like {rows[0].image_id}.png")
    return Source(where=str(path), names=names, rows=rows)


class _Table:
    """The CSV: `rows` of (place, cells by column). Row numbers are a spreadsheet's: the header is row 1."""

    def __init__(self, path: Path, faults: Faults) -> None:
        self.path = path
        self.header, self.rows = self._read(faults)

    def has(self, column: str) -> bool:
        return column in self.header

    def _read(self, faults: Faults) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                lines = [(k, [cell.strip() for cell in cells]) for k, cells in enumerate(csv.reader(file, strict=True), 1)]
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such file; dataset.folder.tags is a CSV under dataset.folder.root") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: not UTF-8 text ({error}); save it as CSV UTF-8") from None
        except csv.Error as error:
            raise DataError(f"{self.path}: not valid CSV ({error})") from None
        lines = [(k, cells) for k, cells in lines if any(cells)]
        if not lines:
            raise DataError(f"{self.path}: the file is empty; its first row must name the columns `image` and `labels`, or `image` and one class a column")
        header = lines[0][1]
        if "image" not in header:
            hint = "; columns must be separated by ','" if len(header) == 1 and ";" in header[0] else nearest("image", header)
            raise DataError(f"{self.path} row 1: no column `image`, found {header}{hint}")
        if repeated := sorted({c for c in header if header.count(c) > 1}):
            raise DataError(f"{self.path} row 1: columns {repeated} occur more than once; rename or delete one of each")
        rows = []
        for k, cells in lines[1:]:
            where = f"{self.path.name} row {k}"
            if len(cells) != len(header):
                faults.add(
                    "row",
                    f"{where}: {len(cells)} cells, expected {len(header)} ({','.join(header[:6])}{',...' if len(header) > 6 else ''}); quote cells that hold a comma",
                )
            else:
                rows.append((where, dict(zip(header, cells, strict=True))))
        return header, rows

    def class_names(self) -> list[str]:
        """Classes of the CSV: names in the cells, sorted, or columns in order."""
        if self.has("labels"):
            return sorted({name for _, cells in self.rows for name in _split_names(cells["labels"])})
        return [c for c in self.header if c not in FOLDER_COLUMNS]

    def class_columns(self, names: list[str], faults: Faults, *, given: bool) -> list[str]:
        """The 0/1 columns to read; a column that holds anything else is one fault, not one a row."""
        others = [c for c in self.header if c not in FOLDER_COLUMNS]
        for name in names:
            if name not in others:
                faults.add("class", f"{self.path.name} row 1: no column for class {name!r}, and no column `labels`{nearest(name, others)}")
        if left := [c for c in others if c not in names]:
            warn("%s: columns %s are not in dataset.folder.classes; they are not read", self.path, ", ".join(left))
        usable = []
        for name in (c for c in others if c in names):
            bad = [(where, cells[name]) for where, cells in self.rows if cells[name] not in ("0", "1", "0.0", "1.0")]
            if bad:
                hint = "" if given else "; if it is no class, delete it or list the classes under dataset.folder.classes"
                faults.add("label", f"{bad[0][0]}: column {name!r} holds {bad[0][1]!r}, expected 0 or 1 ({len(bad)} such rows){hint}")
            else:
                usable.append(name)
        return usable

    def labels(self, cells: dict[str, str], columns: list[str]) -> tuple[str, ...]:
        """Class names of one row, each once."""
        if self.has("labels"):
            return tuple(dict.fromkeys(_split_names(cells["labels"])))
        return tuple(c for c in columns if cells[c] in ("1", "1.0"))


def _split_names(cell: str) -> list[str]:
    return [name for name in (part.strip() for part in cell.split(";")) if name]


def _mask_folder(settings: FolderSection, root: Path) -> tuple[Path, set[str]] | None:
    """The folder of truth masks and what is in it."""
    if not settings.masks:
        return None
    folder = Path(settings.masks)
    if not folder.is_dir():
        hint = f"; did you mean {root / folder}?" if (root / folder).is_dir() else "; leave it empty if there are no masks"
        raise DataError(f"dataset.folder.masks {folder}: no such folder{hint}")
    log.info("truth masks: %s", folder)
    return folder, _files(folder)


def _folder_mask(root: Path, cell: str, masks: tuple[Path, set[str]] | None, image_id: str, faults: Faults, *, where: str) -> Path | None:
    """The mask that the row names, or else the one in the folder of masks."""
    base, name = (root, cell) if cell else (masks[0], f"{image_id}.png") if masks and f"{image_id}.png" in masks[1] else (root, "")
    if name and (wrong := path_fault(name, base)):
        faults.add("path", f"{where}: mask {wrong}")
        return None
    return base / name if name else None
