"""Images, masks and maps as arrays: reading, writing, resizing, and the pixel conventions (no torch).

image_u8  (H, W, 3) uint8 RGB, [0, 255]
image_n   (3, H, W) float32, normalised by a network's own mean and standard deviation
mask      (H, W) uint8: 0 background, 1..C class, 255 ignore
maps      (K, h, w) float32
Sizes are (height, width). Resizing has half-pixel centres (torch's align_corners=False).
"""

from __future__ import annotations

import io
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
from wsss.files.limits import IMAGE_FORMATS, MOST_PIXELS, regular
from wsss.runtime.out_of_memory import is_out_of_memory

WHITE = (255, 255, 255)
STRIP = 256
"""Rows of a transparent image that are laid on white at a time."""
Image.preinit()
# Image.open(formats=...) must name formats that are loaded; Image.init() would load forty
_LOADED = (Jpeg2KImagePlugin, TiffImagePlugin, WebPImagePlugin)
# `opened` tests the size before decoding; Pillow's own limit finds sizes that only decoding shows, and its warning
# would repeat ours
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def voc_colours() -> np.ndarray:
    """PASCAL VOC's colours of class ids, (256, 3) uint8.

    The id's bits in groups of three, group k: they set bit 7 - k of red, green and blue.
    """
    ids = np.arange(256)
    out = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            out[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return out


VOC_COLOURS = voc_colours()
"""(256, 3) uint8, by class id."""


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """Mean and standard deviation of each channel, RGB, in grey levels [0, 255]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
"""For torchvision's and most other weights that were trained on ImageNet."""


@contextmanager
def opened(path: Path, *, what: str = "image") -> Iterator[Image.Image]:
    """Open an image file within the limits of wsss/files/limits.py; its pixels are not decoded yet.

    Of several frames or pages the first is taken.

    Args:
        path: The file.
        what: Word for messages, e.g. "mask".

    Yields:
        Pillow's image. An error while the block decodes it becomes the error below.

    Raises:
        ArtefactError: If the file is missing, empty, no ordinary file, of another format, too large, or damaged.
    """
    try:
        regular(path)
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                size = f"{image.width} x {image.height} pixels"
                raise ValueError(f"{size}, at most {MOST_PIXELS:,} are read; make it smaller")
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


def read_image(path: Path) -> np.ndarray:
    """Read an image of any common form as image_u8.

    EXIF rotation is applied. Grey is repeated, transparency is laid on white, CMYK and palettes are converted, and
    16 bits are reduced to their upper 8.

    Args:
        path: The file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ArtefactError: If the file is missing, empty, too large, not readable, or has floating-point levels.
    """
    with opened(path) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)


def read_indexed_image(row: ImageRow) -> np.ndarray:
    """Read the image of a row of the index as image_u8.

    Raises:
        ArtefactError: If it is unreadable, or has another size than when it was indexed: labels would not fit.
    """
    image_u8 = read_image(row.image)
    if image_u8.shape[:2] != (row.height, row.width):
        sizes = f"found {image_u8.shape[:2]}, the index says {(row.height, row.width)} (height, width)"
        raise ArtefactError(f"{row.image}: {sizes}; rerun index_images")
    return image_u8


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise ValueError("floating-point grey, whose range is not stated: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        # mode "I" does not tell how many bits are used: 16 if a level exceeds 8 bits
        sixteen = image.mode.startswith("I;16") or levels.max(initial=0) > 255
        grey = np.clip(levels // 256 if sixteen else levels, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return _on_white(image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB")).copy()


def _on_white(image: Image.Image) -> np.ndarray:
    """A transparent image laid on white, a strip at a time: Pillow would hold four copies of the whole."""
    out = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, STRIP):
        rgba = image.crop((0, top, image.width, min(top + STRIP, image.height))).convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (*WHITE, 255))
        out[top : top + STRIP] = np.asarray(Image.alpha_composite(ground, rgba).convert("RGB"))
    return out


def read_mask(path: Path) -> np.ndarray:
    """Read a mask, a palette, grey 8-bit or black-and-white (0 and 1) image, as (H, W) uint8 class ids.

    Raises:
        ArtefactError: If the file is missing, unreadable, or holds colours instead of class ids.
    """
    with opened(path, what="mask") as image:
        if image.mode in ("P", "L", "1"):
            return np.array(image, dtype=np.uint8)
        found = image.mode
    raise ArtefactError(f"{path}: a mask must be a palette or grey 8-bit image of class ids, found mode {found}")


def save_mask(path: Path, mask: np.ndarray) -> None:
    """Write a mask (H, W) uint8 as a palette PNG with VOC's colours, whole or not at all."""
    image = Image.fromarray(mask, mode="P")
    image.putpalette(VOC_COLOURS.tobytes())
    save_image(path, image)


def save_image(path: Path, image: Image.Image, *, form: str = "PNG", **options: int) -> None:
    """Write an image, whole or not at all.

    Args:
        path: The file.
        image: Pillow's image.
        form: Pillow's name of the format.
        **options: Pillow's options for the format, e.g. compress_level.
    """
    encoded = io.BytesIO()  # Pillow does not notice if a full disk takes only a part of a JPEG
    image.save(encoded, form, **options)
    with atomic(path, flushed=False) as temporary:
        temporary.write_bytes(encoded.getbuffer())


def normalise(image_u8: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    """Turn image_u8 (H, W, 3) into image_n (3, H, W) float32."""
    mean, std = (np.asarray(v, np.float32) for v in (normalisation.mean, normalisation.std))
    return np.ascontiguousarray(((image_u8.astype(np.float32) - mean) / std).transpose(2, 0, 1))


def resize_image(image_u8: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """Resize image_u8 to (height, width), bilinear; area-averaged if its height shrinks to less than half."""
    height, width = size
    shrinks = height * 2 < image_u8.shape[0]
    return cv2.resize(image_u8, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_maps(maps: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """Resize maps (K, h, w) to (K, H, W) float32, bilinear with half-pixel centres."""
    height, width = size
    out = np.empty((len(maps), height, width), np.float32)
    for k, plane in enumerate(maps):
        out[k] = cv2.resize(plane.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return out


def resize_mask(mask: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask (H, W) to another (height, width): nearest neighbour, half-pixel centres."""
    height, width = size
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def erase(image_u8: np.ndarray, region: np.ndarray, *, colour: np.ndarray) -> np.ndarray:
    """A copy of image_u8 with `region` (H, W) bool filled with `colour` (3,) in [0, 255]."""
    out = image_u8.copy()
    out[region] = np.round(np.clip(colour, 0, 255)).astype(np.uint8)
    return out
