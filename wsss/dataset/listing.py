"""What a data set's index depends on, for rules (no torch)."""

from __future__ import annotations

from pathlib import Path

from wsss.sections import Config


def listing_roots(config: Config) -> list[Path]:
    """Files and folders whose listing the index depends on."""
    d = config.dataset
    if d.kind == "voc":
        root = Path(d.voc.root)
        return [
            root / name
            for name in (
                "JPEGImages",
                "Annotations",
                "ImageSets/Segmentation",
                "SegmentationClassAug",
                "SegmentationClass",
                "SegmentationObject",
                "classes.txt",
            )
        ]
    if d.kind == "coco":
        root = Path(d.coco.root)
        used = [d.coco.train_annotations, d.coco.train_images, *([d.coco.val_annotations, d.coco.val_images] if d.coco.val_annotations else [])]
        return [root / name for name in used]
    if d.kind == "folder":
        return [Path(d.folder.root), Path(d.folder.root) / d.folder.tags, *([Path(d.folder.masks)] if d.folder.masks else [])]
    return []
