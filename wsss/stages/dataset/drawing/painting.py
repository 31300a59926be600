"""Drawings painted on a supersampled canvas: colours, rounded relief, shadows and light (no torch).

A drawing's polygons go to the canvas and to the truth planes alike, so the masks are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from wsss.stages.dataset.drawing.shapes import Layer
from wsss.stages.dataset.drawing.textures import Coat

UNIT = 3
"""Canvas px per image px. Odd, so that an image pixel's centre is a canvas pixel: masks are read there."""
FRACTION = 4
"""Binary digits of the sub-pixel corners that OpenCV takes."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A drawing in the image.

    Attributes:
        name: Its class, or "" for clutter.
        layers: What is painted, in order.
        frame: (2, 3) float64 from unit coordinates to image px (x, y).
        low: (2,) smallest (x, y) of its polygons, image px.
        high: (2,) largest (x, y).
        scale: Image px per unit.
        foot: y of the ground under it, px.
        slope: Tilt, px per px.
    """

    name: str
    layers: list[Layer]
    frame: np.ndarray
    low: np.ndarray
    high: np.ndarray
    scale: float
    foot: float
    slope: float

    def on_image(self, shape: np.ndarray) -> np.ndarray:
        """(N, 2) float64 image px (x, y) of unit coordinates."""
        return shape @ self.frame[:, :2].T + self.frame[:, 2]

    def outlines(self) -> list[np.ndarray]:
        """All polygons, (N, 2) float64 image px."""
        return [self.on_image(p) for layer in self.layers for p in layer.polygons]


def image_plane(plane: np.ndarray) -> np.ndarray:
    """(H, W) of a canvas plane (H * UNIT, W * UNIT): its value at the centre of every image pixel."""
    return plane[UNIT // 2 :: UNIT, UNIT // 2 :: UNIT].copy()


def silhouette(thing: Placed, *, size: tuple[int, int]) -> tuple[np.ndarray, int]:
    """What `paint` would cover.

    Args:
        thing: The object.
        size: (H, W) of the image.

    Returns:
        (H, W) bool inside the image, and the number of px of the whole object, also outside it.
    """
    low, high = np.floor(thing.low).astype(int) - 1, np.ceil(thing.high).astype(int) + 2
    window = np.zeros((int(high[1] - low[1]) * UNIT, int(high[0] - low[0]) * UNIT), np.uint8)
    for shape in thing.outlines():
        cv2.fillPoly(window, [_fixed((shape - low) * UNIT)], 1, shift=FRACTION)
    whole = image_plane(window) > 0
    inside = np.zeros(size, bool)
    left, top, right, bottom = max(low[0], 0), max(low[1], 0), min(high[0], size[1]), min(high[1], size[0])
    if left < right and top < bottom:
        inside[top:bottom, left:right] = whole[top - low[1] : bottom - low[1], left - low[0] : right - low[0]]
    return inside, int(whole.sum())


def cast_shadow(canvas: np.ndarray, thing: Placed, *, light: float, strength: float) -> None:
    """Darken the ground (in place) where the object's soft shadow falls.

    Args:
        canvas: (h, w, 3) uint8.
        thing: What casts it.
        light: Where the light comes from: -1 left, 1 right.
        strength: How dark the shadow is, [0, 1].
    """
    height, width = canvas.shape[0] // UNIT, canvas.shape[1] // UNIT
    field = np.zeros((height, width), np.float32)
    for points in thing.outlines():
        up = thing.foot + thing.slope * (points[:, 0] - thing.frame[0, 2]) - points[:, 1]
        shadow = points + np.column_stack([-0.55 * light * up, 0.78 * up + 0.02 * thing.scale])
        cv2.fillPoly(field, [_fixed(shadow)], 1.0, shift=FRACTION)
    field = cv2.GaussianBlur(field, (0, 0), max(0.03 * thing.scale, 1.0))
    left, top, wide, high = cv2.boundingRect((field > 0.01).astype(np.uint8))
    if wide == 0:
        return
    patch = canvas[top * UNIT : (top + high) * UNIT, left * UNIT : (left + wide) * UNIT]
    dark = 1 - strength * field[top : top + high, left : left + wide]
    factor = cv2.resize(dark, (wide * UNIT, high * UNIT), interpolation=cv2.INTER_LINEAR)
    patch[:] = cv2.multiply(patch, cv2.merge([factor] * 3), dtype=cv2.CV_8U)


def paint(canvas: np.ndarray, planes: list[tuple[np.ndarray, int]], thing: Placed, *, light: float) -> None:
    """Paint an object (in place).

    Args:
        canvas: (h, w, 3) uint8.
        planes: Truth planes (h, w) uint8, each with the value to set where the object is.
        thing: What to paint.
        light: Where the light comes from: -1 left, 1 right.
    """
    for layer in thing.layers:
        shapes = [_fixed(thing.on_image(p) * UNIT) for p in layer.polygons]
        for shape in shapes:
            for plane, value in planes:
                cv2.fillPoly(plane, [shape], value, shift=FRACTION)
        if isinstance(layer.paint, Coat) or layer.relief > 0 or layer.rim:
            _paint_round(canvas, layer, thing, shapes, light=light)
        else:
            for shape in shapes:
                cv2.fillPoly(canvas, [shape], layer.paint, shift=FRACTION)


def _paint_round(canvas: np.ndarray, layer: Layer, thing: Placed, shapes: list[np.ndarray], *, light: float) -> None:
    """Paint one layer that has a coat, relief or rim (in place); shapes in fixed-point canvas px."""
    corners = np.concatenate(shapes) / 2**FRACTION
    left, top = (max(int(v) - 1, 0) for v in np.floor(corners.min(axis=0)))
    ends = np.ceil(corners.max(axis=0))
    right, low = (min(int(v) + 2, limit) for v, limit in zip(ends, canvas.shape[1::-1], strict=True))
    if left >= right or top >= low:
        return
    inside = np.zeros((low - top, right - left), np.uint8)
    for shape in shapes:
        cv2.fillPoly(inside, [shape - np.array([left, top], np.int32) * 2**FRACTION], 1, shift=FRACTION)
    factor = _relief(inside, light=light, strength=layer.relief) * np.float32(layer.tone)
    if layer.rim:
        thick = 1 + 2 * int(np.clip(0.012 * thing.scale * UNIT, 1, 4))
        kernel = np.ones((thick, thick), np.uint8)
        # The image's edge is not an outline: outside counts as inside.
        inner = cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
        factor[inner == 0] *= np.float32(0.48)
    if isinstance(layer.paint, Coat):
        planes = cv2.split(_coat_colours(layer.paint, thing, origin=(left, top), shape=inside.shape))
        colours = cv2.merge([plane * factor for plane in planes])
    else:
        colours = cv2.merge([factor * np.float32(c) for c in layer.paint])
    cv2.copyTo(cv2.convertScaleAbs(colours), inside, canvas[top:low, left:right])


def _fixed(shape: np.ndarray) -> np.ndarray:
    """(N, 2) int32 fixed-point corners for OpenCV, whose pixel centres are whole numbers."""
    return ((shape - 0.5) * 2**FRACTION).round().astype(np.int32)


def _coat_colours(coat: Coat, thing: Placed, *, origin: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """(h, w, 3) float32 colours on the canvas window at `origin` (x, y).

    They are read at every second pixel, which is still finer than the image.
    """
    back = np.linalg.inv(thing.frame[:, :2]).astype(np.float32) / np.float32(UNIT)
    x = np.arange(0, shape[1], 2, dtype=np.float32)[None] + np.float32(origin[0] - thing.frame[0, 2] * UNIT)
    y = np.arange(0, shape[0], 2, dtype=np.float32)[:, None] + np.float32(origin[1] - thing.frame[1, 2] * UNIT)
    coarse = coat.colours(back[0, 0] * x + back[0, 1] * y, back[1, 0] * x + back[1, 1] * y)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def _relief(inside: np.ndarray, *, light: float, strength: float) -> np.ndarray:
    """(h, w) float32 factor near 1: the shape as if inflated, lit from above and from the side `light`."""
    h, w = inside.shape
    if strength == 0:
        return np.ones((h, w), np.float32)
    padded = np.pad(inside, 4).astype(np.float32)
    small = cv2.resize(padded, (max(4, w // 4), max(4, h // 4)), interpolation=cv2.INTER_AREA)
    sigma = max(1.0, 0.16 * min(small.shape))
    field = cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    right, down = cv2.Sobel(field, cv2.CV_32F, 1, 0) / 8 * sigma, cv2.Sobel(field, cv2.CV_32F, 0, 1) / 8 * sigma
    lit = 0.92 + strength * (1.15 * (down - 0.6 * light * right) + 0.16 * (field - 0.6))
    wide = cv2.resize(np.clip(lit, 0.45, 1.45), (w + 8, h + 8), interpolation=cv2.INTER_LINEAR)
    return wide[4 : 4 + h, 4 : 4 + w].copy()


TINTS = {
    "day": (1.04, 1.02, 0.97),
    "overcast": (0.94, 0.96, 0.98),
    "dusk": (1.06, 0.90, 0.82),
    "night": (0.66, 0.72, 0.95),
}
"""Colour of the light by hour."""


def under_light(rng: np.random.Generator, image_u8: np.ndarray, *, hour: str) -> np.ndarray:
    """(H, W, 3) uint8: the image with the tint, gradient, vignette, contrast and sensor noise of its light."""
    h, w = image_u8.shape[:2]
    y, x = np.linspace(-1, 1, h, dtype=np.float32)[:, None], np.linspace(-1, 1, w, dtype=np.float32)[None]
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.16)
    field = 1 + slope * (np.cos(angle) * x + np.sin(angle) * y) - rng.uniform(0.0, 0.12) * (x * x + y * y) / 2
    light = (field * rng.uniform(0.9, 1.08))[..., None].astype(np.float32)  # (H, W, 1)
    out = image_u8.astype(np.float32) * light * np.array(TINTS[hour], np.float32)
    contrast = np.float32(rng.uniform(0.92, 1.1))
    sigma = np.float32(rng.uniform(1.5, 5.0))
    out = (out - 118) * contrast + 118 + sigma * rng.standard_normal(image_u8.shape, np.float32)
    return np.clip(out, 0, 255).round().astype(np.uint8)
