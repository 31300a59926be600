"""Data sets laid out as VOCdevkit/VOC2012. Reads lists and annotations, no image (no torch)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from wsss.files.limits import MOST_ANNOTATION_BYTES, MOST_TABLE_BYTES, id_fault, regular
from wsss.runtime.console import warn
from wsss.settings.sections import VocSection
from wsss.stages.dataset.faults import DataError, Faults
from wsss.stages.dataset.names import check_names
from wsss.stages.dataset.paths import file_names, link_fault
from wsss.stages.dataset.source import Description, Source, SourceRow
from wsss.workflow.digests import listing_digest
from wsss.workflow.listing import rows_digest

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The 20 classes of PASCAL VOC, ids 1..20."""
LISTS = Path("ImageSets", "Segmentation")
MASKS, INSTANCES = ("SegmentationClassAug", "SegmentationClass"), "SegmentationObject"
"""Folders of truth masks, the first that has an image's mask counts; and the folder of instance masks."""


class VocSource(Source):
    """`dataset.kind: voc`. Labels are a file an image; only the lists of images count as files of labels."""

    settings: VocSection

    def read(self, faults: Faults, *, folder: Path, workers: int) -> Description:
        """As `read_voc`; nothing is drawn."""
        return read_voc(self.settings, faults)

    def count(self) -> dict[str, int]:
        """Lines of the lists."""
        lists = Path(self.settings.root) / LISTS
        names = {"train": self.settings.train, "val": self.settings.val}
        return {split: len(read_lines(lists / f"{name}.txt")) if name else 0 for split, name in names.items()}

    def listing(self) -> str:
        """Images, annotations and masks by name, size and time; lists by their rows in any order."""
        root, lists = Path(self.settings.root), self.labels()
        folders = ("JPEGImages", "Annotations", *MASKS, INSTANCES, "classes.txt")
        listed = listing_digest(*(root / name for name in folders), left_out=lists)
        return "-".join([listed, *(rows_digest(path, header=False) for path in lists)])

    def labels(self) -> list[Path]:
        """The lists."""
        s = self.settings
        return [Path(s.root) / LISTS / f"{name}.txt" for name in (s.train, s.measure, s.val) if name]


def read_voc(settings: VocSection, faults: Faults) -> Description:
    """Read a folder laid out as VOCdevkit/VOC2012.

    Labels are the object names of Annotations/ID.xml, difficult ones included. A mask is SegmentationClassAug/ID.png
    or else SegmentationClass/ID.png. Instances are SegmentationObject/ID.png. An image without these files has none.

    Args:
        settings: Root and lists.
        faults: Receives what is wrong.

    Returns:
        The description. Its images may be missing or broken.

    Raises:
        DataError: If the root does not exist.
    """
    root = Path(settings.root)
    if not (root / "JPEGImages").is_dir():
        advice = "give the VOC2012 folder (`wsss download voc` fetches the official one)"
        raise DataError(f"dataset.voc.root {root}: no folder JPEGImages in it; {advice}")
    names = _class_names(root)
    check_names(names, faults, where="classes.txt")
    lists = {
        "train": _read_list(root, settings.train, faults),
        "val": _read_list(root, settings.val, faults) if settings.val else {},
    }
    measured = _read_list(root, settings.measure, faults) if settings.measure else lists["train"]
    for image_id in measured.keys() - lists["train"].keys():
        found = f"{measured[image_id]}: image {image_id!r} is not in the training list {settings.train}"
        faults.add("measure", f"{found}; dataset.voc.measure must be part of it")
    folders = {name: file_names(root / name) for name in (*MASKS, INSTANCES)}
    rows = []
    for split, ids in lists.items():
        for image_id, where in ids.items():
            row = _row(root, image_id, folders, faults, where=where, split=split)
            if row is not None:
                counts = row.mask is not None and (split == "val" or image_id in measured)
                rows.append(replace(row, measured=counts))
    unmasked = sum(row.mask is None for row in rows if row.split == "val" or row.image_id in measured)
    if unmasked:
        text = "%s: %d images that are to be measured have no truth mask; they are left out of the figures"
        warn(text, root, unmasked)
    return Description(where=str(root), names=names, rows=rows)


def _row(
    root: Path, image_id: str, folders: dict[str, set[str]], faults: Faults, *, where: str, split: str
) -> SourceRow | None:
    """One image with its labels. None and a fault if its id is none, or if a file is a link out of its folder."""
    if id_fault(image_id):
        expected = "expected one name a line, without folders, at most 200 bytes"
        faults.add("path", f"{where}: {image_id!r} is no image id; {expected}")
        return None

    def first(*names: str) -> Path | None:
        return next((root / n / f"{image_id}.png" for n in names if f"{image_id}.png" in folders[n]), None)

    annotation, image = root / "Annotations" / f"{image_id}.xml", root / "JPEGImages" / f"{image_id}.jpg"
    mask, instances = first(*MASKS), first(INSTANCES)
    outside = set()
    for path in filter(None, (annotation, image, mask, instances)):
        if wrong := link_fault(path):
            faults.add("path", f"{where}: {wrong}")
            outside.add(path)
    labels = () if annotation in outside else read_annotation(annotation, faults, where=where)
    row = SourceRow(
        where=where, image_id=image_id, split=split, labels=labels, image=image, mask=mask, instances=instances
    )
    return None if outside else row


def _class_names(root: Path) -> list[str]:
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


def _read_list(root: Path, name: str, faults: Faults) -> dict[str, str]:
    """Ids of one list, each with its place. Lines of the DeepLab lists are read too.

    These are of the form `/JPEGImages/ID.jpg /SegmentationClassAug/ID.png`.
    """
    path = root / LISTS / f"{name}.txt"
    if wrong := link_fault(path, name):
        faults.add("list", f"{path}: {wrong}")
        return {}
    if not path.is_file():
        found = ", ".join(sorted(p.stem for p in path.parent.glob("*.txt"))) or "none"
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
        advice = "name another one (dataset.voc.val and dataset.voc.measure may be '')"
        faults.add("list", f"{path}: the list is empty; {advice}")
    return ids


def read_annotation(path: Path, faults: Faults, *, where: str) -> tuple[str, ...]:
    """Names of the objects in one annotation, each once. Parts of objects (head, hand, foot) do not count.

    Args:
        path: The XML file.
        faults: Receives what is wrong.
        where: Where the image is listed, for messages.

    Returns:
        Class names; none if the file is missing or broken, which is a fault.
    """
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
