"""Bilinear resizing by loops, in NumPy, as a slow reference for tests."""

from __future__ import annotations

import math

import numpy as np


def at(plane: np.ndarray, y: float, x: float) -> float:
    """The value of a plane between its cells, whose centres are at whole numbers; outside, the border's."""
    height, width = plane.shape
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = plane[top, left] * (1 - (x - left)) + plane[top, right] * (x - left)
    lower = plane[below, left] * (1 - (x - left)) + plane[below, right] * (x - left)
    return float(upper * (1 - (y - top)) + lower * (y - top))


def resized(maps: np.ndarray, *, size: tuple[int, int], part: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Maps (K, h, w) on an even grid of `size` cells over their upper left `part`, with half-pixel centres."""
    (height, width), (rows, columns) = maps.shape[1:], size
    out = np.zeros((len(maps), rows, columns))
    for k, i, j in np.ndindex(out.shape):
        y, x = (i + 0.5) * part[0] * height / rows - 0.5, (j + 0.5) * part[1] * width / columns - 0.5
        out[k, i, j] = at(maps[k], y, x)
    return out


def cell_means(planes: np.ndarray, *, side: int) -> np.ndarray:
    """Means of planes (K, H, W) over cells of `side` x `side` pixels; cells that the border cuts are smaller."""
    rows, columns = -(-planes.shape[1] // side), -(-planes.shape[2] // side)
    out = np.zeros((len(planes), rows, columns))
    for i, j in np.ndindex(rows, columns):
        out[:, i, j] = planes[:, i * side : (i + 1) * side, j * side : (j + 1) * side].mean((1, 2))
    return out
