"""Images and maps as arrays, and the pixel conventions. Pure, apart from what reads and writes images.

image_u8  (H, W, 3) uint8 RGB, [0, 255]
image_n   (3, H, W) float32, normalised by a network's own mean and standard deviation
mask      (H, W) uint8: 0 background, 1..C class, 255 ignore
maps      (K, h, w) float32
Sizes are (height, width). Resizing has half-pixel centres (torch's align_corners=False).
"""

from __future__ import annotations

import io
import mmap
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, Jpeg2KImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from wsss.files.atomic import atomic
from wsss.files.errors import ArtefactError
from wsss.files.index import ImageRow
from wsss.files.limits import IMAGE_FORMATS, MOST_PIXELS, MOST_SCANS, regular
from wsss.runtime.out_of_memory import is_out_of_memory

WHITE = (255, 255, 255)
STRIP = 256
"""Rows of a transparent image that are laid on white at once."""
Image.preinit()
_KNOWN = (
    Jpeg2KImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)  # imported with the usual ones: `formats` must name known ones, and Image.init() loads forty
# Pillow's own limit is for what shows while decoding only, and refuses twice this: `opened` tests the size before, so that its warning says nothing new.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def voc_colours() -> np.ndarray:
    """(256, 3) uint8 colours of class ids, PASCAL VOC's: bit k of the id's three-bit groups sets bit 7 - k of red, green, blue."""
    ids = np.arange(256)
    out = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            out[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return out


VOC_COLOURS = voc_colours()
"""(256, 3) uint8."""


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Mean and standard deviation of each channel, RGB, in grey levels [0, 255]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
"""Of torchvision's and most other weights trained on ImageNet."""


@contextmanager
def opened(path: Path, *, what: str = "image") -> Iterator[Image.Image]:
    """An image of a foreign file within the limits of wsss/files/limits.py, its pixels not decoded yet. Of several frames or pages the first.

    Args:
        path: The file.
        what: Word for messages, e.g. "mask".

    Yields:
        Pillow's image; what is raised while it is decoded in the block becomes the error below.

    Raises:
        ArtefactError: If the file is missing, empty, no ordinary file, of no format that is read, too large, or damaged.
    """
    try:
        regular(path)
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(
                    f"{image.width} x {image.height} pixels, at most {MOST_PIXELS:,} are read; make it smaller"
                )
            if image.format in ("JPEG", "MPO"):
                _check_scans(path)
            yield image
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such {what}") from None
    except ArtefactError:
        raise
    except UnidentifiedImageError:
        raise ArtefactError(f"{path}: not a readable {what} (none of {', '.join(IMAGE_FORMATS)})") from None
    except Exception as error:  # Pillow raises what it likes on damaged files
        if is_out_of_memory(error):
            raise
        raise ArtefactError(f"{path}: not a readable {what} ({str(error)[:200] or type(error).__name__})") from None


_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Of a JPEG segment; FF 00 is a byte of the image, D0..D7 restart its coding."""


def _check_scans(path: Path) -> None:
    """Refuse a JPEG of more scans than any encoder writes: 200 bytes each make the decoder go over the whole image once more."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at, scans = 2, 0
        while (marker := _MARKER.search(content, at)) and (kind := content[marker.start() + 1]) != 0xD9:
            at = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
            scans += kind == 0xDA
            del marker  # holds the map
            if scans > MOST_SCANS:
                raise ValueError(f"a JPEG of more than {MOST_SCANS} scans; save it anew")


def read_image(path: Path) -> np.ndarray:
    """An image of any common form as image_u8.

    EXIF rotation is applied; grey is repeated, transparency laid on white, CMYK and palettes converted, 16 bits reduced to their upper 8.

    Args:
        path: The file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ArtefactError: If the file is missing, empty, too large, no readable image or of floating-point levels.
    """
    with opened(path) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)


def read_indexed_image(row: ImageRow) -> np.ndarray:
    """The image_u8 of a row of the index.

    Raises:
        ArtefactError: If it is unreadable, or of another size than when it was indexed (labels and regions would not fit).
    """
    image_u8 = read_image(row.image)
    if image_u8.shape[:2] != (row.height, row.width):
        raise ArtefactError(
            f"{row.image}: found {image_u8.shape[:2]}, the index says {(row.height, row.width)} (height, width); rerun index_images"
        )
    return image_u8


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise ValueError("floating-point grey, whose range is not stated: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        # "I" does not say how many bits are used: take 16 where 8 are exceeded
        sixteen = image.mode.startswith("I;16") or levels.max(initial=0) > 255
        grey = np.clip(levels // 256 if sixteen else levels, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return _on_white(image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")).copy()


def _on_white(image: Image.Image) -> np.ndarray:
    """A transparent image laid on white, a strip at a time: whole, Pillow holds four copies of it."""
    out = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, STRIP):
        rgba = image.crop((0, top, image.width, min(top + STRIP, image.height))).convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (*WHITE, 255))
        out[top : top + STRIP] = np.asarray(Image.alpha_composite(ground, rgba).convert("RGB"))
    return out


def read_mask(path: Path) -> np.ndarray:
    """A mask as (H, W) uint8 indices: a palette, grey 8-bit or black-and-white (0 and 1) PNG.

    Raises:
        ArtefactError: If the file is missing, unreadable, or holds colours instead of indices.
    """
    with opened(path, what="mask") as image:
        if image.mode in ("P", "L", "1"):
            return np.array(image, dtype=np.uint8)
        found = image.mode
    raise ArtefactError(f"{path}: a mask must be a palette or grey 8-bit image of class ids, found mode {found}")


def save_mask(path: Path, mask: np.ndarray) -> None:
    """Write a mask (H, W) uint8 as a palette PNG in VOC's colours, whole or not at all."""
    image = Image.fromarray(mask, mode="P")
    image.putpalette(VOC_COLOURS.tobytes())
    save_image(path, image)


def save_image(path: Path, image: Image.Image, *, form: str = "PNG", **options: int) -> None:
    """Write an image, whole or not at all.

    Args:
        path: The file.
        image: Pillow's image.
        form: Pillow's name of the format.
        **options: Pillow's for the format, e.g. compress_level.
    """
    encoded = io.BytesIO()  # Pillow, given a file, does not notice that a full disk took only a part of a JPEG
    image.save(encoded, form, **options)
    with atomic(path, flushed=False) as temporary:
        temporary.write_bytes(encoded.getbuffer())


def normalise(image_u8: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    """image_u8 (H, W, 3) to image_n (3, H, W) float32."""
    mean, std = (np.asarray(v, np.float32) for v in (normalisation.mean, normalisation.std))
    return np.ascontiguousarray(((image_u8.astype(np.float32) - mean) / std).transpose(2, 0, 1))


def resize_image(image_u8: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """image_u8 at another (height, width), bilinear; area-averaged when it shrinks to less than half."""
    height, width = size
    shrinks = height * 2 < image_u8.shape[0]
    return cv2.resize(image_u8, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_maps(maps: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """Maps (K, h, w) at another (H, W), bilinear with half-pixel centres, as float32 (K, H, W)."""
    height, width = size
    out = np.empty((len(maps), height, width), np.float32)
    for k, plane in enumerate(maps):
        out[k] = cv2.resize(plane.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return out


def resize_mask(mask: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """A mask (H, W) at another size, nearest with pixel centres aligned."""
    height, width = size
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def erase(image_u8: np.ndarray, region: np.ndarray, *, colour: np.ndarray) -> np.ndarray:
    """A copy of image_u8 whose `region` (H, W) bool is filled with `colour` (3,) in [0, 255]."""
    out = image_u8.copy()
    out[region] = np.round(np.clip(colour, 0, 255)).astype(np.uint8)
    return out
