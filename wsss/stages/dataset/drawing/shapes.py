"""Outlines for drawings: polygons and layers in unit coordinates, x to the right and y down (no torch, no pixels)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wsss.stages.dataset.drawing.textures import Coat, Colour

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Polygons painted in one go.

    Attributes:
        polygons: Each (N, 2) float64, unit coordinates; their union is filled.
        paint: A coat, or one RGB colour.
        relief: Strength of the rounded shading, 0 (flat) to 1.
        tone: Factor on the colour; under 1 for what is further away.
        rim: Whether the edge is darkened, as a drawn outline.
    """

    polygons: list[np.ndarray]
    paint: Coat | Colour
    relief: float = 0.0
    tone: float = 1.0
    rim: bool = False


INK: Colour = (30, 27, 30)
WHITE: Colour = (250, 248, 240)


def flat(paint: Colour, *polygons: np.ndarray) -> Layer:
    """One plain colour, without shading and without an outline."""
    return Layer(polygons=list(polygons), paint=paint)


def rounded(paint: Coat | Colour, *polygons: np.ndarray, tone: float = 1.0, relief: float = 1.0) -> Layer:
    """A shaded body with a dark outline."""
    return Layer(polygons=list(polygons), paint=paint, relief=relief, tone=tone, rim=True)


# ---------------------------------------------------------------- shapes

_STEPS = np.arange(29) / 28


def ellipse(
    cx: float, cy: float, rx: float, ry: float, *, degrees: float = 0.0, start: float = 0.0, end: float = 360.0
) -> np.ndarray:
    """(N, 2) polygon of an ellipse, or of its sector between two angles."""
    t = np.radians(start + (end - start) * _STEPS)
    x, y = rx * np.cos(t), ry * np.sin(t)
    c, s = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    return np.column_stack([cx + x * c - y * s, cy + x * s + y * c])


def polygon(*points: Point) -> np.ndarray:
    """(N, 2) polygon from its corners."""
    return np.array(points, np.float64)


def curve(points: Sequence[Point], *, closed: bool, steps: int = 6) -> np.ndarray:
    """(N, 2) Catmull-Rom curve through the points."""
    p = np.array(points, np.float64)
    ends = (p[-1:], p[:2]) if closed else (2 * p[:1] - p[1:2], 2 * p[-1:] - p[-2:-1])
    padded = np.concatenate([ends[0], p, ends[1]])
    a, b, c, d = (padded[k : len(padded) - 3 + k, None] for k in range(4))
    t = (np.arange(steps) / steps)[None, :, None]
    line = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    line = line.reshape(-1, 2)
    return line if closed else np.concatenate([line, p[-1:]])


def blob(*points: Point) -> np.ndarray:
    """(N, 2) smooth closed outline through the points."""
    return curve(points, closed=True)


def tube(points: Sequence[Point], start: float, end: float) -> list[np.ndarray]:
    """A rounded, tapering band along a smooth line, half-widths from `start` to `end`: its polygons."""
    line = curve(points, closed=False)
    along = np.gradient(line, axis=0)
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / length
    width = np.linspace(start, end, len(line))[:, None]
    return [
        np.concatenate([line + normal * width, (line - normal * width)[::-1]]),
        ellipse(line[0, 0], line[0, 1], start, start),
        ellipse(line[-1, 0], line[-1, 1], end, end),
    ]


def box(left: float, top: float, right: float, bottom: float, *, round_by: float) -> np.ndarray:
    """(N, 2) rectangle with rounded corners."""
    r = min(round_by, (right - left) / 2, (bottom - top) / 2)
    corners = (
        (right - r, bottom - r, 0),
        (left + r, bottom - r, 90),
        (left + r, top + r, 180),
        (right - r, top + r, 270),
    )
    return np.concatenate([ellipse(x, y, r, r, start=a, end=a + 90)[::4] for x, y, a in corners])


def moved(layers: list[Layer], dx: float, dy: float, *, scale: float = 1.0) -> list[Layer]:
    """The layers scaled about the origin, then shifted."""
    return [replace(layer, polygons=[p * scale + (dx, dy) for p in layer.polygons]) for layer in layers]
