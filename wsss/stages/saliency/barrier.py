"""Saliency without training: minimum barrier distance to the image's border (pure).

Source: J. Zhang, S. Sclaroff, Z. Lin, X. Shen, B. Price, R. Mech, "Minimum Barrier Salient Object Detection at 80 FPS",
ICCV 2015: FastMBD (Algorithm 1), the backgroundness of MB+ (section 4.2), the post-processing (section 4.3). The
barrier of a path is the largest minus the smallest value on it. A pixel's distance is the smallest barrier of any path
to the border. It is small if the pixel belongs to something that the border cuts.

Frames: H×W the image, h×w the working frame, at most `SIDE` px long, in which the paper's sizes hold.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numba import njit

from wsss.settings.sections import BarrierSection
from wsss.stages.saliency.estimator import Estimator

SIDE = 300
"""Longest side of the working frame, px (section 5 of the paper)."""
STRIP = 0.1
"""Width of a border strip over the longest side: 30 px at 300."""
SMOOTHING = 20.0 / 300.0
"""Kernel width of the smoothing over the longest side, times the root of the map's mean (alpha = 20 at 300 px)."""
CONTRAST = 10.0
"""Slope b of the sigmoid 1 / (1 + exp(-b (x - 0.5)))."""
RIDGE = 1.0
"""Added to the variance of a strip's colours, squared colour units, so that a strip of one colour has an inverse."""


class Barrier(Estimator):
    """`saliency.kind: barrier`."""

    settings: BarrierSection

    def of_image(self, image_u8: np.ndarray) -> np.ndarray:
        """As `barrier_saliency`."""
        s = self.settings
        return barrier_saliency(image_u8, passes=s.passes, colour=s.colour, backgroundness=s.backgroundness)


def barrier_saliency(
    image_u8: np.ndarray, *, passes: int = 3, colour: Literal["lab", "rgb"] = "lab", backgroundness: bool = True
) -> np.ndarray:
    """Saliency of an image, MB (barrier distance) or MB+ (with backgroundness).

    What to expect: each map is stretched so that it holds 0 and 1, whatever the image. An image of one colour gives
    zeros; a nearly empty one has its noise stretched. The sigmoid pushes values apart: a background threshold of 0.06
    here is 0.23 of the map before it. AE-PSL set 0.06 for DRFI maps. On 44 photographs of VOC12-sub (MB+, Lab):

    | threshold | pixels called background | of these rightly | objects' pixels among them |
    |---|---|---|---|
    | 0.02 | 33 % | 95 % | 7 % |
    | 0.06 | 49 % | 93 % | 16 % |
    | 0.15, the best single cut (foreground IoU 0.38) | 61 % | 91 % | 26 % |

    Args:
        image_u8: (H, W, 3) RGB uint8.
        passes: Raster scans, alternating from the top left and the bottom right.
        colour: Colour space; distances are summed over its channels.
        backgroundness: Whether to add the border-strip cue.

    Returns:
        (H, W) float32 in [0, 1], min-max normalised; zeros if nothing differs from the border.
    """
    height, width = image_u8.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    small = image_u8
    if scale < 1:
        frame = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(image_u8, frame, interpolation=cv2.INTER_AREA)  # (h, w, 3)
    colours = _colours(small, colour=colour)
    raw = _to_max(barrier_distance(colours, passes=passes))
    if backgroundness:
        raw = _to_max(raw + border_contrast(colours))
    if raw.max() <= 0:
        return np.zeros((height, width), np.float32)
    kernel = round(SMOOTHING * max(raw.shape) * float(np.sqrt(raw.mean())))
    smooth = _to_max(smooth_by_reconstruction(raw, width=kernel))
    sharp = (1.0 / (1.0 + np.exp(-CONTRAST * (smooth - 0.5)))).astype(np.float32)
    return _stretch(cv2.resize(sharp, (width, height), interpolation=cv2.INTER_LINEAR) if scale < 1 else sharp)


def barrier_distance(colours: np.ndarray, *, passes: int) -> np.ndarray:
    """FastMBD (Algorithm 1): an upper bound of the minimum barrier distance to the border.

    Pixels are 4-connected. Distances are summed over channels.

    Args:
        colours: (h, w, D) float32, any range.
        passes: Raster scans.

    Returns:
        (h, w) float32 >= 0, in colour units; 0 on the border.
    """
    total = np.zeros(colours.shape[:2], np.float32)
    for k in range(colours.shape[2]):
        total += _raster_scans(np.ascontiguousarray(colours[:, :, k], np.float32), passes)
    return total


def border_contrast(colours: np.ndarray) -> np.ndarray:
    """Backgroundness of MB+ (section 4.2): how unlike the border's colours a pixel is.

    Mahalanobis distance to the mean colour of each of the four border strips, each map divided by its maximum. The sum
    leaves out the largest of the four, so that the object may cover one strip.

    Args:
        colours: (h, w, D) float32.

    Returns:
        (h, w) float32 in [0, 1], divided by its maximum.
    """
    depth = max(1, round(STRIP * max(colours.shape[:2])))
    maps = []
    for strip in (colours[:depth], colours[-depth:], colours[:, :depth], colours[:, -depth:]):
        samples = strip.reshape(-1, colours.shape[2]).astype(np.float64)
        centred = samples - samples.mean(0)
        inverse = np.linalg.inv(centred.T @ centred / len(samples) + RIDGE * np.eye(samples.shape[1]))
        offset = colours - samples.mean(0).astype(np.float32)
        maps.append(_to_max(np.sqrt(np.maximum(((offset @ inverse.astype(np.float32)) * offset).sum(-1), 0))))
    stack = np.stack(maps)
    return _to_max(stack.sum(0) - stack.max(0))


def smooth_by_reconstruction(values: np.ndarray, *, width: int) -> np.ndarray:
    """Opening, then closing by reconstruction: specks narrower than `width` go, all other edges stay.

    Args:
        values: (h, w) float32 in [0, 1].
        width: Side of the square kernel, px; below 2 nothing changes.

    Returns:
        (h, w) float32 in [0, 1].
    """
    if width < 2:
        return values.copy()
    kernel = np.ones((width, width), np.uint8)
    opened = _reconstruct(cv2.erode(values, kernel), values)
    return 1 - _reconstruct(cv2.erode(1 - opened, kernel), 1 - opened)


def _colours(image_u8: np.ndarray, *, colour: Literal["lab", "rgb"]) -> np.ndarray:
    """(h, w, 3) float32: CIE Lab (L 0..100, a and b about -127..127), or RGB in 0..255."""
    if colour == "rgb":
        return image_u8.astype(np.float32)
    return np.asarray(cv2.cvtColor(image_u8.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))


def _to_max(values: np.ndarray) -> np.ndarray:
    """Divided by the maximum; zeros (up to rounding) stay zeros."""
    peak = float(values.max())
    return (values / peak).astype(np.float32) if peak > 1e-4 else np.zeros_like(values, np.float32)


def _stretch(values: np.ndarray) -> np.ndarray:
    """Min-max normalised; a constant becomes zeros."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-6:
        return np.zeros_like(values, np.float32)
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _raster_scans(values: np.ndarray, passes: int) -> np.ndarray:
    """Distance (h, w) of one channel; `low` and `high` are the extremes on the best path found so far."""
    height, width = values.shape
    low, high = values.copy(), values.copy()
    distance = np.zeros((height, width), np.float32)
    distance[1:-1, 1:-1] = np.inf
    for k in range(passes):
        step = 1 if k % 2 == 0 else -1
        for i in range(1, height - 1):
            y = i if step == 1 else height - 1 - i
            for j in range(1, width - 1):
                x = j if step == 1 else width - 1 - j
                for v, u in ((y - step, x), (y, x - step)):
                    new_low, new_high = min(low[v, u], values[y, x]), max(high[v, u], values[y, x])
                    if new_high - new_low < distance[y, x]:
                        low[y, x], high[y, x], distance[y, x] = new_low, new_high, new_high - new_low
    return distance


@njit(cache=True)  # type: ignore[untyped-decorator]
def _reconstruct(marker: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Morphological reconstruction by dilation, 4-connected: `marker` spreads under `limit` until nothing changes."""
    height, width = limit.shape
    out = np.minimum(marker, limit)
    changed = True
    while changed:
        changed = False
        for step in (1, -1):
            for i in range(height):
                y = i if step == 1 else height - 1 - i
                for j in range(width):
                    x = j if step == 1 else width - 1 - j
                    best = out[y, x]
                    if 0 <= y - step < height:
                        best = max(best, out[y - step, x])
                    if 0 <= x - step < width:
                        best = max(best, out[y, x - step])
                    best = min(best, limit[y, x])
                    if best > out[y, x]:
                        out[y, x] = best
                        changed = True
    return out
