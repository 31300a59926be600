"""Images and masks: cases for the readers of wsss/files/imaging.py."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss.files.imaging import read_image, read_mask

from .attempt import Case, each

GREY = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)


def encoded(form: str, *, size: tuple[int, int] = (60, 40), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.resize(GREY, (size[1], size[0], 3))).save(out, form, **options)
    return out.getvalue()


def zeros(count: int) -> bytes:
    """Zeros packed by zlib. After a full flush equal input gives equal output, so a megabyte is packed once."""
    packer = zlib.compressobj(9)
    start = packer.compress(bytes(count % (1 << 20))) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = (count % 65521) << 16 | 1  # Adler-32 of zeros
    return start + block * (count >> 20) + zlib.compressobj(9, zlib.DEFLATED, -15).flush() + struct.pack(">I", checksum)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    *, width: int, height: int, rows: bytes | None = None, depth: int = 8, colour: int = 2, before: bytes = b""
) -> bytes:
    """A PNG with these values in its header. Without `rows` its pixels are packed zeros."""
    if rows is None:
        rows = zeros(height * (1 + width * {0: 1, 2: 3, 3: 1, 6: 4}[colour] * depth // 8))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def with_exif(data: bytes) -> bytes:
    """A JPEG with these bytes for EXIF."""
    whole, block = encoded("JPEG"), b"Exif\0\0" + data
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + whole[2:]


def tiff(labels: list[tuple[int, int, int, int]], data: bytes = b"") -> bytes:
    """A TIFF of these (label, type, count, value)."""
    entries = b"".join(struct.pack("<HHII", *t) for t in labels)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(labels)) + entries + b"\0\0\0\0" + data


def bmp(width: int, height: int) -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 100, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        + bytes(50)
    )


def gif(width: int, height: int, *, frames: int = 1) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame * frames + b"\x3b"


GHOST = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    b"(../outside/ran) (w) file closefile\nshowpage\n%%EOF\n"
)
SVG = b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'
GREY_TIFF = [(258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 200), (278, 4, 1, 1), (279, 4, 1, 100)]
WHOLE_PNG, WHOLE_JPEG = encoded("PNG"), encoded("JPEG")
FILES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"no image at all\n",
    "HTML, as of a failed download": lambda: b"<!DOCTYPE html><html><body>403 Forbidden</body></html>",
    "PNG: cut in the middle": lambda: WHOLE_PNG[: len(WHOLE_PNG) // 2],
    "PNG: no pixels": lambda: png(width=10, height=10, rows=b""),
    "PNG: too few pixels": lambda: png(width=1000, height=1000, rows=zlib.compress(b"\0" * 100)),
    "PNG: 60,000 x 60,000": lambda: png(width=60_000, height=60_000, rows=zlib.compress(b"\0" * 100)),
    "PNG: 2^31 x 2^31": lambda: png(width=2**31 - 1, height=2**31 - 1, rows=b""),
    "PNG: 121 million pixels in 360 kB": lambda: png(width=11_000, height=11_000),
    "PNG: a text of 200 MB": lambda: png(width=4, height=4, before=chunk(b"zTXt", b"a\0\0" + zeros(200_000_000))),
    "PNG: a colour profile of 200 MB": lambda: png(
        width=4, height=4, before=chunk(b"iCCP", b"a\0\0" + zeros(200_000_000))
    ),
    "PNG: a wrong checksum": lambda: WHOLE_PNG[:20] + b"\xff" + WHOLE_PNG[21:],
    "JPEG: cut in the middle": lambda: WHOLE_JPEG[: len(WHOLE_JPEG) // 2],
    "JPEG: 65,500 x 65,500": lambda: WHOLE_JPEG.replace(b"\0\x28\0\x3c", struct.pack(">HH", 65_500, 65_500), 1),
    "GIF: 65,535 x 65,535": lambda: gif(65_535, 65_535),
    "BMP: 2^30 x 2^30": lambda: bmp(2**30, 2**30),
    "TIFF: 2^30 x 2^30": lambda: tiff([(256, 4, 1, 2**30), (257, 4, 1, 2**30), *GREY_TIFF]),
    "TIFF: no size": lambda: tiff([(258, 3, 1, 8)]),
    "TIFF: levels are floating-point": lambda: _float_tiff(),
    "PPM: 20,000 x 20,000": lambda: b"P6\n20000 20000\n255\n" + bytes(100),
    "PostScript that writes a file": lambda: GHOST,
    "SVG with an external entity": lambda: SVG,
    "a ZIP archive": lambda: b"PK\x03\x04" + bytes(200),
}
"""Files that are refused, by what is in them; the suffix is always .png, which nobody may believe."""


def _float_tiff() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.ones((4, 4), np.float32)).save(out, "TIFF")
    return out.getvalue()


EXIFS: dict[str, bytes] = {
    "cut short": b"II*\0\x08",
    "a circle of tables": b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0",
    "an orientation of 77": b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x4d\0\0\0\0\0\0\0",
    "random": np.random.default_rng(3).integers(0, 256, 400).astype(np.uint8).tobytes(),
}
"""EXIF blocks: the image around them may be read or refused."""
LEGAL: dict[str, Callable[[], bytes]] = {
    "JPEG called .png": lambda: WHOLE_JPEG,
    "an image with a ZIP archive after it": lambda: WHOLE_PNG + b"PK\x03\x04" + bytes(1000),
    "an image with a page in its comment": lambda: encoded("JPEG", comment="<script>alert(1)</script>"),
    "PNG of 1 x 1": lambda: png(width=1, height=1),
}
"""Odd images that are read."""


def write(folder: Path, *, content: Callable[[], bytes]) -> str:
    (folder / "a.png").write_bytes(content())
    return "a.png"


def special(folder: Path, *, content: str) -> str:
    """Something else in the place of the image."""
    path = folder / "a.png"
    if content == "pipe":
        os.mkfifo(path)
    elif content == "folder":
        path.mkdir()
    elif content == "endless file":
        path.symlink_to("/dev/zero")
    elif content == "circle":
        path.symlink_to(path)
    return "a.png"


def image(folder: Path) -> Any:
    return read_image(folder / "a.png")


def mask(folder: Path) -> Any:
    return read_mask(folder / "a.png")


def whole(folder: Path) -> None:
    found = read_image(folder / "a.png")
    assert found.dtype == np.uint8, found.dtype
    assert found.ndim == 3, found.shape
    assert found.shape[2] == 3, found.shape


NO_MASKS = ("empty", "text", "PNG: cut in the middle", "PNG: 60,000 x 60,000", "PostScript that writes a file")


def cases() -> list[Case]:
    """All of them."""
    exifs = {f"EXIF: {name}": partial(with_exif, data) for name, data in EXIFS.items()}
    masks = {name: FILES[name] for name in NO_MASKS}
    masks |= {"colours": lambda: WHOLE_PNG, "16 bits": lambda: png(width=4, height=4, depth=16, colour=0)}
    places = {f"a {kind} in its place": kind for kind in ("pipe", "folder", "endless file", "circle")}
    return [
        *each("image", FILES, write, image),
        *each("image", exifs, write, whole, legal=None),
        *each("image", LEGAL, write, whole, legal=True),
        *each("image", places, special, image),
        *each("mask", masks, write, mask),
    ]
