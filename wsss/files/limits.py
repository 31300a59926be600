"""What is taken of a foreign file at most: every limit of the readers, in one place (no torch). docs/SECURITY.md gives the reasons."""

from __future__ import annotations

import itertools
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MOST_PIXELS = 120_000_000
"""Of an image or a mask; about 1.2 GB while it is decoded. Cameras reach 108 million."""
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000")
"""Pillow's names of the formats that are decoded; JPEG includes MPO, what phones write. Among those left out are EPS, which Pillow hands to Ghostscript, and forms that no data set uses."""
MOST_SCANS = 100
"""Of a JPEG file; encoders write about ten. Each makes the decoder pass over the whole image, and 250 bytes make one."""

MOST_IMAGES = 2_000_000
"""Rows of a table of labels, lines of a list, images of an instances file."""
MOST_COLUMNS = 1_000
"""Of a table of labels."""
MOST_CELLS = 20_000_000
"""Of a table of labels, about 1 GB in memory. COCO has 6.6 million."""
MOST_TABLE_BYTES = 128 << 20
"""Of a table of labels or a list of images."""
MOST_ANNOTATION_BYTES = 1 << 20
"""Of the XML of one image; VOC's have a few kB."""
MOST_NAME = 100
"""Characters of a class name."""
MOST_ID_BYTES = 200
"""Of an image id: a file name has 255, and suffixes are put to it."""

MOST_JSON_DEPTH = 32
"""Lists and objects within each other; COCO's have 6."""
MOST_MEMBER_VALUES = 2_000_000
"""Values in one member of a list of a streamed JSON file, such as an object with its outline; about 150 MB in memory."""
MOST_TEXT_BYTES = 2 << 20
"""Of one text in a streamed JSON file."""
MOST_JSON_BYTES = 1 << 30
"""Of a JSON file that is read whole, e.g. the proposals of a shard, which the package writes itself."""
MOST_PROPOSAL_BYTES = 16 << 20
"""Of one image's proposals in a JSON file; 2,000 masks take about 1 MB."""
MOST_PROPOSALS = 10_000
"""Of one image that are looked at, those that are left out for their size included; as many as `instances.proposals.folder.count` can ask for. MCG gives about 5,000."""
MOST_MATLAB_BYTES = 512 << 20
"""Of what one image's MATLAB file unpacks to; 2,000 masks of 500 x 375 pixels take 375 MB."""
MOST_COORDINATE = 1e6
"""Of a polygon, px either side of 0."""
MOST_OUTLINE = 20_000_000
"""Length of one polygon in px: pycocotools takes about 40 bytes for each."""

MOST_PICKLE_BYTES = 64 << 20
"""Of cls_labels.npy. VOC's labels have 2 MB."""
MOST_DESCRIPTION = 16 << 20
"""Bytes that describe the tensors in a network's file; 1,000 tensors take 0.1 MB."""
MOST_PICKLE_STEPS = 1_000_000
"""Of one pickle; VOC's labels take 0.36 million."""
MOST_PICKLE_DEPTH = 16
"""Tuples within each other in a pickle."""
MOST_U2NET_BYTES = 16 << 20
"""Of u2netp.onnx, which has 4.6 MB."""
MOST_DOWNLOAD_BYTES = 4 << 30
"""Of an archive that is fetched; VOC 2012 has 2 GB."""
MOST_VALUES = 100_000
"""Values of a configuration, or of what describes a network: aliases are counted each time they are used."""
MOST_DEPTH = 32
"""Mappings and lists within each other in a configuration."""
MOST_RUN_NAME = 60
"""Characters of the name of a run, a method or a variant, which become folders."""
MOST_CONFIG_BYTES = 1 << 18
"""Of a configuration file."""
MOST_RATIO = 300
"""Bytes of a store file's maps over their bytes on disk; bitshuffle-lz4 reaches 165, on zeros."""

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""What no name may hold: control characters, and halves of characters that no file can be written with."""


def regular(path: Path, *, most: int = 0) -> None:
    """Refuse what is no ordinary file before it is opened: a pipe would be waited for, a device never ends.

    Args:
        path: What is to be read; links are followed.
        most: Largest number of bytes; 0: any.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is a folder, a pipe or a device, or too large; the message does not name the path.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise ValueError("it is a folder, a pipe or a device, expected a file")
    if most and state.st_size > most:
        raise ValueError(f"it has {state.st_size:,} bytes, at most {most:,} are read")


def check_plain(value: Any) -> None:
    """Refuse a value that is more than lists and mappings of texts, numbers and truth values, or that grows when it is written out.

    Args:
        value: As YAML, JSON or a pickle gives it. What stands in several places counts each time.

    Raises:
        ValueError: With the place, if it is too deep or too large, or something in it has no counterpart in JSON.
    """
    left = [(value, "", 0)]
    for count in itertools.count():
        if not left:
            return
        part, place, depth = left.pop()
        if count >= MOST_VALUES or len(left) > MOST_VALUES or depth > MOST_DEPTH:
            raise ValueError(
                f"{place[1:81]}: more than {MOST_VALUES:,} values, or {MOST_DEPTH} lists and mappings in each other"
            )
        if isinstance(part, Mapping):
            if odd := [k for k in part if not isinstance(k, str)]:
                raise ValueError(f"{place[1:] or 'top'}: key {odd[0]!r:.80} is no text; put it in quotes")
            left += [(v, f"{place}.{k}"[:200], depth + 1) for k, v in part.items()]
        elif isinstance(part, list | tuple):
            left += [(v, f"{place}[{k}]"[:200], depth + 1) for k, v in enumerate(part)]
        elif isinstance(part, int) and not isinstance(part, bool) and part.bit_length() > 64:
            raise ValueError(f"{place[1:]}: a number of more than 64 bits")
        elif not isinstance(part, str | int | float | bool | None):
            raise ValueError(
                f"{place[1:]}: found {str(part)[:80]!r} ({type(part).__name__}), expected a text, a number, true or false; put it in quotes"
            )


def id_fault(image_id: str) -> str:
    """Why an image id cannot name files, or "": it becomes IMAGE_ID.png in folders of results.

    Args:
        image_id: Key of an image.
    """
    if not image_id or image_id in (".", "..") or "/" in image_id:
        return f"image id {image_id[:80]!r} cannot name a file; expected a name without folders"
    if CONTROL.search(image_id):
        return f"image id {image_id[:80]!r} holds a control character; rename the file"
    if (size := len(image_id.encode())) > MOST_ID_BYTES:
        return f"image id {image_id[:80]!r}... has {size} bytes, at most {MOST_ID_BYTES} fit into a file name; use shorter names"
    return ""
