"""Data sets in the form of MS COCO: instances files and folders of images, as of 2014 and 2017.

Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014. Labels come from category ids. Truth
masks are drawn from the polygons and run lengths (no torch).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from wsss.files.coco_ids import LARGEST, image_number
from wsss.files.mask_values import MOST_NUMBERED
from wsss.runtime.console import log, warn
from wsss.settings.sections import CocoSection
from wsss.stages.dataset.coco_json import (
    CocoImage,
    Number,
    class_ids,
    count_images,
    first_of,
    read_categories,
    read_coco_images,
)
from wsss.stages.dataset.faults import DataError, Faults
from wsss.stages.dataset.names import check_names, did_you_mean
from wsss.stages.dataset.paths import link_fault, path_fault
from wsss.stages.dataset.source import Description, Source, SourceRow
from wsss.workflow.digests import listing_digest


class CocoSource(Source):
    """`dataset.kind: coco`. Truth masks are drawn beside the index."""

    settings: CocoSection
    labels_an_image = 2.9
    """COCO 2014: Chen et al., CVPR 2019."""
    written = 0.04
    """Two PNGs of truth."""

    def read(self, faults: Faults, *, folder: Path, workers: int) -> Description:
        """As `read_coco`."""
        return read_coco(self.settings, faults, folder=folder, workers=workers)

    def count(self) -> dict[str, int]:
        """Images of the instances files, those without objects too."""
        s = self.settings
        files = {"train": s.train_annotations, "val": s.val_annotations}
        return {split: count_images(Path(s.root) / file) if file else 0 for split, file in files.items()}

    def listing(self) -> str:
        """Instances files and images, by name, size and time."""
        s = self.settings
        validation = [s.val_annotations, s.val_images] if s.val_annotations else []
        return listing_digest(*(Path(s.root) / name for name in (s.train_annotations, s.train_images, *validation)))

    def labels(self) -> list[Path]:
        """The instances files."""
        s = self.settings
        return [Path(s.root) / name for name in (s.train_annotations, s.val_annotations) if name]

    def image_size(self) -> tuple[int, int]:
        """Height and width of most of COCO's images."""
        return 480, 640


def read_coco(settings: CocoSection, faults: Faults, *, folder: Path, workers: int) -> Description:
    """Read images, labels and truth of one or two instances files.

    An image's labels are the classes of its objects that are no crowds and have a pixel. An object has no pixel if it
    is wholly outside the image, or if its outline has no area. Such objects, and images without labels, are left out
    and counted. Truth: of overlapping objects the smaller is on top. A crowd is 255 where no other object is. Outlines
    are cut at the image's border.

    Args:
        settings: Files, folders and classes.
        faults: Receives what is wrong.
        folder: Where truth masks are drawn: SPLIT/masks and SPLIT/instances.
        workers: Processes that draw.

    Returns:
        The description. Its images may be missing or broken.

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
                faults.add("class", f"{path.name}: no category {name!r}{did_you_mean(name, known.values())}")
        found[split] = read_coco_images(path, class_ids(known, names), faults)
        rows += _rows(found[split], names, faults, where=path.name, split=split, images=root / images)
    if not len(faults):
        from wsss.stages.dataset.coco_truth import with_truth  # decodes and writes images, which rules do not need

        rows = with_truth(rows, found, folder=folder, workers=workers)
    log.info("%s: %d images with truth", root, len({row.image_id for row in rows if row.mask is not None}))
    kept = tuple(category_ids.get(name, 0) for name in names) if numbers_end_names(found.values()) else ()
    usable = kept if all(0 < k <= LARGEST for k in kept) else ()
    return Description(where=str(root), names=names, rows=rows, category_ids=usable)


def numbers_end_names(found: Iterable[Mapping[Number, CocoImage]]) -> bool:
    """Whether COCO's numbers of images follow from our image ids.

    That is so if each file name ends in its image's number, and no number is in two of the files.
    """
    numbers: set[Number] = set()
    for by_number in found:
        if not numbers.isdisjoint(by_number):
            return False
        if not all(image_number(Path(image.file).stem) == number for number, image in by_number.items()):
            return False
        numbers.update(by_number)
    return True


def _rows(
    by_number: Mapping[Number, CocoImage], names: list[str], faults: Faults, *, where: str, split: str, images: Path
) -> list[SourceRow]:
    """Rows of the images that have labels."""
    rows, bare = [], []
    for number, image in by_number.items():
        objects = [thing for thing in image.things if not thing.crowd]
        labels = tuple(names[c - 1] for c in sorted({thing.class_id for thing in objects}))
        place = f"{where} image {number}"
        if wrong := path_fault(image.file, images):
            faults.add("path", f"{place}: {wrong}")
        elif not labels:
            bare.append(image.file)
        elif len(objects) > MOST_NUMBERED:
            most = f"at most {MOST_NUMBERED} fit into an instance mask; leave some classes out (dataset.coco.classes)"
            faults.add("json", f"{place}: {len(image.things)} objects, {most}")
        else:
            rows.append(
                SourceRow(
                    where=place,
                    image_id=Path(image.file).stem,
                    split=split,
                    labels=labels,
                    image=images / image.file,
                    size=image.size,
                    measured=True,
                )
            )
    if bare:
        left = "(crowds and objects without a pixel do not count)"
        text = "%s: %d images without an object of the classes %s are left out: %s"
        warn(text, where, len(bare), left, first_of(bare, len(bare)))
    return rows
