"""The layout of a scene: where it is, and which objects stand where (no torch).

The layout, and with it the labels, is decided on silhouettes before anything is drawn. An object that would be hardly
visible is neither drawn nor named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsss.stages.dataset.drawing import backdrops, painting
from wsss.stages.dataset.drawing.clutter import clutter
from wsss.stages.dataset.drawing.objects import CLASSES, class_names
from wsss.stages.dataset.drawing.painting import Placed
from wsss.stages.dataset.drawing.shapes import Layer
from wsss.stages.dataset.drawing.textures import random_coat

COOCCURRING = "train"
"""The class that comes with its own background."""
MIN_VISIBLE_PX, MIN_VISIBLE = 40, 0.25
"""An object with fewer visible pixels, or a smaller share of its own visible, is left out."""
MAIN_SIZE, OTHER_SIZE, CLUTTER_SIZE = (0.36, 0.7), (0.15, 0.5), (0.12, 0.42)
"""Object size, the square root of its bounding box's area, as a share of the image's shorter side."""
LEAST_SIZE = 14.0
"""Smallest object size, px."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where and when an image is.

    Attributes:
        size: (H, W), px.
        horizon: First row of the ground, px.
        footing: First row to stand on, px.
        ground: A key of `backdrops.GROUNDS`.
        hour: A key of `backdrops.SKIES`.
        light: Side of the light: -1 left, 1 right.
    """

    size: tuple[int, int]
    horizon: int
    footing: float
    ground: str
    hour: str
    light: float


def surroundings(rng: np.random.Generator, *, min_side: int, max_side: int) -> Surroundings:
    """Draw where and when an image is; its sides are in `min_side`..`max_side` px."""
    height, width = (int(v) for v in rng.integers(min_side, max_side + 1, 2))
    ground = str(rng.choice(list(backdrops.GROUNDS)))
    hour = str(rng.choice(list(backdrops.SKIES), p=[0.45, 0.25, 0.18, 0.12]))
    horizon = 0 if rng.random() < 0.15 else int(rng.uniform(0.18, 0.5) * height)
    footing = horizon + (backdrops.DRY if ground == "shore" else 0.06) * (height - horizon)
    light = float(rng.choice([-1.0, 1.0]))
    return Surroundings(size=(height, width), horizon=horizon, footing=footing, ground=ground, hour=hour, light=light)


def _place(
    rng: np.random.Generator, name: str, layers: list[Layer], *, where: Surroundings, share: tuple[float, float]
) -> Placed:
    """A drawing somewhere on the ground, at a size drawn from `share`; sometimes partly outside the image."""
    height, width = where.size
    corners = np.concatenate([p for layer in layers for p in layer.polygons])
    low, high = corners.min(axis=0), corners.max(axis=0)
    wide, tall = (float(v) for v in high - low)
    on_rails = name == COOCCURRING
    scale = max(rng.uniform(*share) * min(where.size), LEAST_SIZE) / np.sqrt(wide * tall)
    scale = float(min(scale, 0.9 * height / tall, 0.98 * width / wide))
    tilt = np.radians(rng.uniform(-4, 4) * (0.5 if on_rails else 1.0))
    beyond = 0.2 * wide * scale if rng.random() < 0.3 else 0.0
    middle = rng.uniform(min(wide * scale / 2 - beyond, width / 2), max(width - wide * scale / 2 + beyond, width / 2))
    lowest = 0.98 * height - (0.1 * scale if on_rails else 0.0)
    foot = float(rng.uniform(min(max(where.footing, 0.97 * tall * scale), lowest), lowest))
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    linear = turn @ np.diag([-1.0 if rng.random() < 0.5 else 1.0, 1.0]) * scale
    shift = np.array([middle, foot]) - linear @ np.array([(low[0] + high[0]) / 2, 0.0])
    placed = corners @ linear.T + shift
    frame = np.column_stack([linear, shift])
    return Placed(
        name=name,
        layers=layers,
        frame=frame,
        low=placed.min(axis=0),
        high=placed.max(axis=0),
        scale=scale,
        foot=foot,
        slope=float(np.tan(tilt)),
    )


def _overlap(a: Placed, b: Placed) -> float:
    """Share of the smaller bounding box that the two have in common."""
    common = np.prod(np.maximum(np.minimum(a.high, b.high) - np.maximum(a.low, b.low), 0))
    return float(common / min(np.prod(a.high - a.low), np.prod(b.high - b.low)))


def _visible(things: list[Placed], *, size: tuple[int, int]) -> list[Placed]:
    """Leave out the most hidden object, again and again, until all are visible enough.

    `things` and the result are in order from the back to the front.
    """
    planes = [painting.silhouette(thing, size=size) for thing in things]
    kept = list(range(len(things)))
    while True:
        seen: dict[int, float] = {}
        covered = np.zeros(size, bool)
        for k in reversed(kept):
            inside, area = planes[k]
            pixels = int((inside & ~covered).sum())
            covered |= inside
            if things[k].name:
                seen[k] = min(pixels / MIN_VISIBLE_PX, pixels / (MIN_VISIBLE * area))
        worst = min(seen, key=seen.__getitem__)
        if seen[worst] >= 1:
            return [things[k] for k in kept]
        if len(seen) == 1:
            # The only object left is never hidden by what is merely background: an image has a label.
            return [things[worst]]
        kept.remove(worst)


def lay_out(rng: np.random.Generator, *, number: int, where: Surroundings) -> list[Placed]:
    """Choose and place the objects of a scene: clutter, 1 to 3 classes and up to 4 of their objects.

    Args:
        rng: Source of the draws.
        number: Number of the image. The first class goes round with it, so that classes are even.
        where: Where the image is.

    Returns:
        The objects from the back to the front.
    """
    names = class_names()
    first = names[number % len(names)]
    count = int(rng.choice([0, 1, 2], p=[0.42, 0.38, 0.20]))
    others = rng.choice([n for n in names if n != first], count, replace=False)
    wanted = [first, *(str(n) for n in others)]
    wanted += [str(n) for n in rng.choice(wanted, int(rng.random() < 0.3)) if n != COOCCURRING]
    things: list[Placed] = []
    for k, name in enumerate(wanted + [""] * int(rng.integers(0, 4))):
        layers = CLASSES.get(name, clutter)(rng, random_coat(rng))
        tolerance = float(rng.choice([0.05, 0.15, 0.45]))
        best: tuple[float, Placed] | None = None
        for _ in range(6):
            # Of a few positions the first that is not too crowded, else the least crowded: some occlusion stays.
            share = MAIN_SIZE if k == 0 else OTHER_SIZE if name else CLUTTER_SIZE
            place = _place(rng, name, layers, where=where, share=share)
            crowding = max((_overlap(place, other) for other in things), default=0.0)
            if best is None or crowding < best[0]:
                best = (crowding, place)
            if crowding <= tolerance:
                break
        assert best is not None
        things.append(best[1])
    return _visible(sorted(things, key=lambda x: x.foot), size=where.size)
