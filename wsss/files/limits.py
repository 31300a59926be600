"""Limits of what is read: a larger input is refused with a message that names it (no torch).

Only limits that refuse are here, so that a changed one changes no result. A limit that cuts an input short is beside
its reader. docs/SECURITY.md has a table of these limits; `python -m tests.files.test_limits` writes it from the
docstrings below.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000")
"""Pillow's names of the formats that are decoded. JPEG includes MPO, which phones write. EPS is left out, as Pillow
would run Ghostscript on it; so are formats that no data set uses."""
MOST_PIXELS = 120_000_000
"""Pixels of an image or mask. Decoding this many needs about 1.2 GB; cameras reach 108 million."""

MOST_TABLE_BYTES = 128 << 20
"""Bytes of a table of labels or a list of images."""
MOST_IMAGES = 2_000_000
"""Rows of a table or list, or images of an instances file. ImageNet has 1.3 million."""
MOST_COLUMNS = 1_000
"""Columns of a table of labels."""
MOST_CELLS = 20_000_000
"""Cells of a table of labels. They take about 1 GB of memory; a table for COCO has 6.6 million."""
MOST_ANNOTATION_BYTES = 1 << 20
"""Bytes of the XML file of one image. VOC's have a few kB."""
MOST_NAME = 100
"""Characters of a class name."""
MOST_ID_BYTES = 200
"""Bytes of an image id. A file name has at most 255, and suffixes are added to the id."""

MOST_JSON_DEPTH = 32
"""Lists and objects within each other in a COCO file. COCO's own have 6."""
MOST_MEMBER_VALUES = 2_000_000
"""Values of one image or object in a COCO file, its outline included. They take about 150 MB of memory."""
MOST_TEXT_BYTES = 2 << 20
"""Bytes of one text in a COCO file."""
MOST_JSON_BYTES = 1 << 30
"""Bytes of a JSON file that is read as a whole, such as the proposals of a shard."""
MOST_PROPOSAL_BYTES = 16 << 20
"""Bytes of the JSON file with one image's proposals. 2,000 masks take about 1 MB."""
MOST_MATLAB_BYTES = 512 << 20
"""Bytes of the MATLAB file with one image's proposals. 2,000 masks of 500 x 375 pixels take 375 MB."""
MOST_COORDINATE = 1e6
"""Coordinate of a polygon, in pixels on either side of 0."""

MOST_PICKLE_BYTES = 64 << 20
"""Bytes of cls_labels.npy. VOC's file has 2 MB."""
MOST_U2NET_BYTES = 16 << 20
"""Bytes of u2netp.onnx. It has 4.6 MB."""
MOST_DOWNLOAD_BYTES = 4 << 30
"""Bytes of an archive that is downloaded. VOC 2012 has 2 GB."""

MOST_DEPTH = 32
"""Mappings and lists within each other in a configuration, or in what describes a network."""
MOST_RUN_NAME = 60
"""Characters of the name of a run, a method or a variant. They become folders."""

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""What no name may hold: control characters, and half characters, which no file name can hold."""


def regular(path: Path, *, most: int = 0) -> None:
    """Refuse anything but an ordinary file before it is opened: a pipe would block, and a device never ends.

    Args:
        path: The file; links are followed.
        most: Largest number of bytes; 0: any.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, a pipe or a device, or too large. The message does not name the path.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise ValueError("it is a folder, a pipe or a device, expected a file")
    if most and state.st_size > most:
        raise ValueError(f"it has {state.st_size:,} bytes, at most {most:,} are read")


def check_plain(value: Any) -> None:
    """Refuse a value that JSON cannot hold: anything but lists and mappings of texts, numbers and truth values.

    Args:
        value: What YAML or JSON loads.

    Raises:
        ValueError: With the place, if a value is of another type, or too deep (also if it holds itself).
    """
    left = [(value, "", 0)]
    while left:
        part, place, depth = left.pop()
        if depth > MOST_DEPTH:
            raise ValueError(f"{place[1:81]}: more than {MOST_DEPTH} lists and mappings in each other")
        if isinstance(part, Mapping):
            if odd := [k for k in part if not isinstance(k, str)]:
                raise ValueError(f"{place[1:] or 'top'}: key {odd[0]!r:.80} is no text; put it in quotes")
            left += [(v, f"{place}.{k}"[:200], depth + 1) for k, v in part.items()]
        elif isinstance(part, list | tuple):
            left += [(v, f"{place}[{k}]"[:200], depth + 1) for k, v in enumerate(part)]
        elif isinstance(part, int) and not isinstance(part, bool) and part.bit_length() > 64:
            raise ValueError(f"{place[1:]}: a number of more than 64 bits")
        elif not isinstance(part, str | int | float | bool | None):
            found = f"found {str(part)[:80]!r} ({type(part).__name__})"
            raise ValueError(f"{place[1:]}: {found}, expected a text, a number, true or false; put it in quotes")


def id_fault(image_id: str) -> str:
    """Why an image id cannot name files, or "". Results have files IMAGE_ID.png.

    Args:
        image_id: Key of an image.
    """
    start = f"image id {image_id[:80]!r}"
    if not image_id or image_id in (".", "..") or "/" in image_id:
        return f"{start} cannot name a file; expected a name without folders"
    if CONTROL.search(image_id):
        return f"{start} holds a control character; rename the file"
    if (size := len(image_id.encode())) > MOST_ID_BYTES:
        return f"{start}... has {size} bytes, at most {MOST_ID_BYTES} fit into a file name; use shorter names"
    return ""
