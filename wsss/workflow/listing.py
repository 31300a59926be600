"""What a data set's index depends on, for rules (no torch)."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

from pydantic import BaseModel

from wsss.files.limits import MOST_TABLE_BYTES, regular
from wsss.settings.sections import Config, DatasetSection
from wsss.settings.stage_settings import ProposalSettings, SaliencySettings
from wsss.workflow.digests import listing_digest


def dataset_digest(config: Config) -> str:
    """Digest of what the index depends on: images and masks by name, size and time, a CSV of labels and VOC's lists by their rows in any order."""
    tables = label_files(config.dataset) if config.dataset.kind in ("folder", "voc") else []
    rows = [_rows_digest(path, header=config.dataset.kind == "folder") for path in tables]
    return "-".join([listing_digest(*listing_roots(config), left_out=tables), *rows])


def _rows_digest(path: Path, *, header: bool) -> str:
    """Digest of a table's rows in any order, the first one first where it is a header; of its size and time where it cannot be read."""
    try:
        regular(path, most=MOST_TABLE_BYTES)
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in cells] for cells in csv.reader(file, strict=True) if cells]
    except (OSError, ValueError, csv.Error):
        return listing_digest(path)
    return hashlib.blake2b(json.dumps([*rows[:header], *sorted(rows[header:])]).encode(), digest_size=8).hexdigest()


def listing_roots(config: Config) -> list[Path]:
    """Files and folders whose listing the index depends on, apart from tables (`label_files`)."""
    d = config.dataset
    if d.kind == "voc":
        root = Path(d.voc.root)
        return [
            root / name
            for name in (
                "JPEGImages",
                "Annotations",
                "SegmentationClassAug",
                "SegmentationClass",
                "SegmentationObject",
                "classes.txt",
            )
        ]
    if d.kind == "coco":
        root = Path(d.coco.root)
        used = [
            d.coco.train_annotations,
            d.coco.train_images,
            *([d.coco.val_annotations, d.coco.val_images] if d.coco.val_annotations else []),
        ]
        return [root / name for name in used]
    if d.kind == "folder":
        return [Path(d.folder.root), *([Path(d.folder.masks)] if d.folder.masks else [])]
    return []


def label_files(dataset: DatasetSection) -> list[Path]:
    """Files that name the labels: the CSV of labels, COCO's instances files, VOC's lists. VOC's labels themselves are a file an image."""
    if dataset.kind == "folder":
        return [Path(dataset.folder.root) / dataset.folder.labels]
    if dataset.kind == "coco":
        return [
            Path(dataset.coco.root) / name
            for name in (dataset.coco.train_annotations, dataset.coco.val_annotations)
            if name
        ]
    if dataset.kind == "voc":
        lists = Path(dataset.voc.root) / "ImageSets" / "Segmentation"
        return [lists / f"{name}.txt" for name in (dataset.voc.train, dataset.voc.measure, dataset.voc.val) if name]
    return []


def given_folder(settings: BaseModel) -> Path | None:
    """The folder of given maps that the settings of a stage lead to: saliency maps or proposals of kind `folder`; None for other kinds and stages."""
    section = (
        settings.saliency
        if isinstance(settings, SaliencySettings)
        else settings.proposals
        if isinstance(settings, ProposalSettings)
        else None
    )
    return Path(section.folder.root) if section is not None and section.kind == "folder" else None
