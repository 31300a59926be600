"""What is checked before a data set is used: every fault is gathered, then reported in one message (no torch of its own)."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from wsss.files.imaging import read_image, read_mask
from wsss.files.limits import CONTROL, MOST_IMAGES, MOST_NAME, id_fault
from wsss.files.mask_values import IGNORE
from wsss.runtime.console import progress, warn
from wsss.runtime.text import printable

LISTED = 20
"""Faults of one kind that are named; the rest is a number."""
LONGEST = 600
"""Characters of a fault's line."""
MOST_CLASSES = 254
"""Class ids are 1..254: a mask is 8-bit, 0 is background and 255 is ignored."""


Text = str | Callable[[], str]
"""Of a fault, or what makes it."""


class DataError(ValueError):
    """A data set that cannot be used; the message lists every fault."""


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """One image as its source describes it.

    Attributes:
        where: Where the source says so, for messages, e.g. "labels.csv row 17".
        image_id: Key of the image.
        split: "train" or "val".
        labels: Names of the classes, each once.
        image: The image.
        size: (height, width) that the source gives, if it does.
        mask: Truth mask, if there is one.
        instances: Instance mask, if there is one.
        context: Mask of the co-occurring background, if there is one.
        measured: Whether the truth mask counts in measurements.
    """

    where: str
    image_id: str
    split: str
    labels: tuple[str, ...]
    image: Path
    size: tuple[int, int] | None = None
    mask: Path | None = None
    instances: Path | None = None
    context: Path | None = None
    measured: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckedImage:
    """What the check of one image found.

    Attributes:
        size: (height, width) in px after EXIF rotation; (0, 0) if unreadable.
        sum_rgb: (3,) int64 sum of the pixels' grey levels.
        content: Digest of the image and its masks as decoded, 16 hexadecimal digits.
        faults: (kind, text) of everything wrong with it and its masks.
    """

    size: tuple[int, int]
    sum_rgb: np.ndarray
    content: str
    faults: tuple[tuple[str, Text], ...]


class Faults:
    """Gathers faults by kind, in order of appearance: the first LISTED of a kind as texts, the others as a number."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = defaultdict(list)
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, kind: str, text: Text) -> None:
        """Remember one fault.

        Args:
            kind: Group, for the limit on what is listed, e.g. "image".
            text: Place, what was found, what was expected, what to do; or a function that gives it, called for those that are listed only.
        """
        self._counts[kind] += 1
        if len(self._texts[kind]) < LISTED:
            self._texts[kind].append(_clipped(text if isinstance(text, str) else text()))

    def stop(self, source: str) -> None:
        """Raise if there is any fault.

        Args:
            source: What was read, e.g. the CSV's path; begins the message.

        Raises:
            DataError: With every kind of fault, each up to 20 times and then a count.
        """
        if not self._texts:
            return
        lines = [f"{source}: {len(self)} fault{'s' * (len(self) > 1)} in the data set; nothing was written"]
        for kind, texts in self._texts.items():
            lines += [f"  {text}" for text in texts]
            if self._counts[kind] > LISTED:
                lines.append(f"  ... and {self._counts[kind] - LISTED} more of this kind ({kind})")
        raise DataError("\n".join(lines))


def _clipped(text: str) -> str:
    """One line of a message: what a file says may be long, and hold line breaks."""
    text = printable(text).replace("\n", "\\n").replace("\t", "\\t")
    return text if len(text) <= LONGEST else f"{text[: LONGEST * 2 // 3]} [...] {text[-LONGEST // 3 :]}"


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'aeroplane'?" for the most similar known name, or "" if none is similar."""
    if len(name) > MOST_NAME:
        return ""
    folded = {k.casefold(): k for k in known}
    found = difflib.get_close_matches(name.strip().casefold(), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[found[0]]!r}?" if found else ""


def path_fault(text: str, root: Path) -> str:
    """Why `text` may not be used as a path under `root`, or "".

    Args:
        text: Path as the source spells it; must be relative and stay inside, links followed.
        root: Folder that holds the data.
    """
    if CONTROL.search(text):
        return f"path {text!r} holds a control character; rename the file"
    path = Path(text)
    if path.is_absolute() or ".." in path.parts:
        return f"path {text!r} leaves the folder {root}; paths must be relative to it, without '..'"
    try:
        target = (root / path).resolve()
    except (OSError, RuntimeError) as error:  # links in a circle, names that are too long
        return f"path {text!r} leads nowhere ({str(error)[:100]})"
    if not target.is_relative_to(root.resolve()):
        return f"path {text!r} is a link out of the folder {root}, to {target}; put the file inside"
    return ""


def link_fault(path: Path, setting: str = "") -> str:
    """Why a file may not be read because it is a link out of its folder, or ""; the folder itself may be a link.

    Args:
        path: The file.
        setting: How the configuration names it; an absolute path there is the user's own word for it.
    """
    if not path.is_symlink() or Path(setting).is_absolute():
        return ""
    wrong = path_fault(path.name, path.parent)
    return f"{wrong}, or give its absolute path" if wrong and setting else wrong


def check_rows(rows: list[SourceRow], names: list[str], faults: Faults, *, where: str) -> None:
    """Check ids, splits and labels; needs no image.

    Args:
        rows: All images.
        names: Foreground classes.
        faults: Receives what is wrong.
        where: What was read, for messages about the whole.
    """
    if not any(row.split == "train" for row in rows):
        faults.add("split", f"{where}: no training image; at least one is needed")
    if len(rows) > MOST_IMAGES:
        faults.add("image", f"{where}: {len(rows):,} images, at most {MOST_IMAGES:,} are read")
    first: dict[str, SourceRow] = {}
    known = set(names)
    for row in rows:
        if wrong := id_fault(row.image_id):
            faults.add("id", f"{row.where}: {wrong}")
        earlier = first.setdefault(row.image_id, row)
        if earlier.split != row.split:
            faults.add(
                "overlap",
                f"{row.where}: image {row.image_id!r} is in {row.split} and in {earlier.split} ({earlier.where}); the splits must not overlap",
            )
        elif earlier is not row:
            faults.add(
                "duplicate",
                f"{row.where}: image id {row.image_id!r} occurs before ({earlier.where}: {earlier.image.name}); keep one or rename a file",
            )
        for name in row.labels:
            if name not in known:
                faults.add("label", partial(_unknown, row, name, names))
        if not row.labels and row.split == "train":
            faults.add(
                "no labels",
                f"{row.where}: image {row.image_id!r} has no labels; name at least one class or leave the image out",
            )
    if len(names) > MOST_CLASSES:
        return
    empty = [row.image_id for row in rows if not row.labels and row.split == "val"]
    if empty:
        warn("%s: %d validation images have no labels, e.g. %s", where, len(empty), empty[0])
    trained = {name for row in rows if row.split == "train" for name in row.labels}
    if missing := [name for name in names if name not in trained]:
        warn("%s: no training image for %s; these classes cannot be learnt", where, ", ".join(missing))
    training = [row for row in rows if row.split == "train"]
    if everywhere := [name for name in names if training and all(name in row.labels for row in training)]:
        warn(
            "%s: every training image has %s: a classifier cannot tell it from the background; add images without it, or more classes",
            where,
            ", ".join(everywhere),
        )


def _unknown(row: SourceRow, name: str, names: list[str]) -> str:
    return f"{row.where}: class {name!r} is not in the dataset's {len(names)} classes{nearest(name, names)}"


def check_images(rows: list[SourceRow], faults: Faults, *, num_classes: int) -> list[CheckedImage]:
    """Decode every image and mask, a few at a time.

    Args:
        rows: All images.
        faults: Receives what is wrong.
        num_classes: C; masks may hold 0..C and 255.

    Returns:
        One entry a row, in order.
    """
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))  # decoding releases the interpreter's lock
    try:
        found = pool.map(lambda row: check_image(row, num_classes=num_classes), rows)
        images = list(progress(found, what="checking images", total=len(rows)))
    finally:
        pool.shutdown(cancel_futures=True)
    for checked in images:
        for kind, text in checked.faults:
            faults.add(kind, text)
    return images


def check_image(row: SourceRow, *, num_classes: int) -> CheckedImage:
    """Decode one image and its masks.

    Args:
        row: The image.
        num_classes: C.

    Returns:
        Its size, colour sum, digest and faults.
    """
    faults: list[tuple[str, Text]] = []
    image = _decode(row, "image", row.image, read_image, faults)
    if image is None:
        return CheckedImage(size=(0, 0), sum_rgb=np.zeros(3, np.int64), content="", faults=tuple(faults))
    size = (image.shape[0], image.shape[1])
    if row.size and row.size != size:  # its truth was drawn in that size, so there is nothing more to say
        text = f"{row.where}: says {_by(row.size)}, its image {row.image} is {_by(size)} (height x width, after EXIF rotation); correct its height and width"
        return CheckedImage(size=size, sum_rgb=np.zeros(3, np.int64), content="", faults=(("size", text),))
    digest = hashlib.blake2b(image.tobytes(), digest_size=8)
    for kind, path in (("mask", row.mask), ("instances", row.instances), ("context", row.context)):
        mask = _decode(row, kind, path, read_mask, faults) if path else None
        if mask is None:
            continue
        digest.update(kind.encode() + mask.tobytes())
        if mask.shape != size:
            faults.append(
                (
                    kind,
                    f"{row.where}: {kind} {path} is {_by(mask.shape)}, its image {_by(size)} (height x width, after EXIF rotation); they must agree",
                )
            )
        illegal = (
            [
                int(v)
                for v in np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
                if v > num_classes and v != IGNORE
            ]
            if kind == "mask"
            else []
        )
        if illegal:
            some = ", ".join(map(str, illegal[:5])) + (", ..." if len(illegal) > 5 else "")
            faults.append(
                (
                    kind,
                    f"{row.where}: mask {path} holds {some}; legal are 0..{num_classes} and {IGNORE} (ignore), as palette or 8-bit grey PNG",
                )
            )
    return CheckedImage(
        size=size,
        sum_rgb=image.sum(axis=0, dtype=np.int64).sum(axis=0),
        content=digest.hexdigest(),
        faults=tuple(faults),
    )


def _decode(
    row: SourceRow, kind: str, path: Path, read: Callable[[Path], np.ndarray], faults: list[tuple[str, Text]]
) -> np.ndarray | None:
    """The array of one file, or a fault."""
    try:
        if path.stat().st_size == 0:
            faults.append(
                (kind, f"{row.where}: {kind} {path} is empty (0 bytes); copy it again or leave the image out")
            )
            return None
        return read(path)
    except FileNotFoundError:
        faults.append((kind, lambda: f"{row.where}: {kind} {path} does not exist{_similar_file(path)}"))
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        faults.append((kind, f"{row.where}: {kind} {path} cannot be read: {reason}"))
    return None


def _similar_file(path: Path) -> str:
    """A hint at a file of the same name in other capitals or with another suffix, which is what is wrong most often."""
    if "\\" in path.name:
        return "; separate folders with '/'"
    try:
        names = [p.name for p in path.parent.iterdir() if p.stem.casefold() == path.stem.casefold()]
    except OSError:
        return f"; there is no folder {path.parent}"
    return f"; did you mean {min(names)!r}?" if names else ""


def _by(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
