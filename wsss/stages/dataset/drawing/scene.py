"""One image of the embedded data set, with exact class, instance and context masks (no torch).

Every object has a small part that is its class's own and a large body that is not (`objects`). One class, the train,
nearly always comes with its own background, a railway, whose visible pixels are the context mask. Each image is a pure
function of (seed, split, number), so subsets, order and processes do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from wsss.stages.dataset.drawing import backdrops, painting
from wsss.stages.dataset.drawing.layout import COOCCURRING, Surroundings, lay_out, surroundings
from wsss.stages.dataset.drawing.objects import class_names
from wsss.stages.dataset.drawing.painting import UNIT, Placed
from wsss.training import draws

RAILS_WITH, RAILS_WITHOUT = 0.95, 0.03
"""Share of images with and without a train that show a railway."""
SHADOWS = {"day": 0.5, "overcast": 0.32, "dusk": 0.42, "night": 0.4}
"""Strength of shadows by hour."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One image and its truth.

    Attributes:
        image_u8: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8: 0 background, 1..C class.
        instances: (H, W) uint8: 0 background, k = object k, from the back to the front.
        context: (H, W) uint8: 1 on visible railway.
        labels: Names of the classes in the mask, by ascending id.
    """

    image_u8: np.ndarray
    mask: np.ndarray
    instances: np.ndarray
    context: np.ndarray
    labels: list[str]


def draw_scene(seed: int, split: str, number: int, *, min_side: int, max_side: int) -> Scene:
    """One image of the embedded data set.

    Args:
        seed: Seed of the data set.
        split: "train" or "val".
        number: Number of the image in its split.
        min_side: Shortest side, px.
        max_side: Longest side, px.

    Returns:
        The image and its truth; equal for equal arguments.
    """
    rng = draws.generator(seed, "scenes", split, number)
    where = surroundings(rng, min_side=min_side, max_side=max_side)
    things = lay_out(rng, number=number, where=where)
    canvas = backdrops.backdrop(
        rng, size=where.size, horizon=where.horizon, ground=where.ground, hour=where.hour, unit=UNIT
    )
    classes, instances, context = (np.zeros(canvas.shape[:2], np.uint8) for _ in range(3))
    track = _track(rng, things, where=where)
    if track is not None:
        # Clutter behind the near edge of the track goes under it, not on it.
        for thing in (x for x in things if not x.name and x.foot < track[0] + backdrops.BED * track[1]):
            _add(canvas, [], thing, where=where)
        things = [x for x in things if x.name or x.foot >= track[0] + backdrops.BED * track[1]]
        context |= backdrops.rails(rng, canvas, foot=track[0] * UNIT, scale=track[1] * UNIT, slope=track[2], unit=UNIT)
    found = 0
    for thing in things:
        found += bool(thing.name)
        class_id = class_names().index(thing.name) + 1 if thing.name else 0
        _add(canvas, [(classes, class_id), (instances, found if class_id else 0), (context, 0)], thing, where=where)
    image_u8 = cv2.resize(canvas, where.size[::-1], interpolation=cv2.INTER_AREA)
    mask, instances, context = (painting.image_plane(plane) for plane in (classes, instances, context))
    labels = sorted({thing.name for thing in things if thing.name}, key=class_names().index)
    return Scene(
        image_u8=painting.under_light(rng, image_u8, hour=where.hour),
        mask=mask,
        instances=instances,
        context=context,
        labels=labels,
    )


def _add(canvas: np.ndarray, planes: list[tuple[np.ndarray, int]], thing: Placed, *, where: Surroundings) -> None:
    """Paint an object and its shadow (in place)."""
    painting.cast_shadow(canvas, thing, light=where.light, strength=SHADOWS[where.hour])
    painting.paint(canvas, planes, thing, light=where.light)


def _track(rng: np.random.Generator, things: list[Placed], *, where: Surroundings) -> tuple[float, float, float] | None:
    """The railway, if this image has one: y at the image's middle (px), length of a train on it (px), slope."""
    trains = [thing for thing in things if thing.name == COOCCURRING]
    if rng.random() >= (RAILS_WITH if trains else RAILS_WITHOUT):
        return None
    height, width = where.size
    if trains:
        return trains[0].foot + trains[0].slope * (width / 2 - trains[0].frame[0, 2]), trains[0].scale, trains[0].slope
    foot = float(rng.uniform(max(where.footing, 0.55 * height), 0.9 * height))
    return foot, float(rng.uniform(0.5, 0.9) * width), 0.0
