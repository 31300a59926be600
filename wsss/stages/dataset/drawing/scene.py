"""The embedded data set: images drawn from a seed, with exact class, instance and context masks (no torch).

Every object has a small part that is its class's own and a large body that is not (`objects`). The layout, and with it the labels,
is decided on silhouettes before anything is drawn: what would be hardly visible is neither drawn nor named. One class, the train,
nearly always comes with its own background, a railway, whose visible pixels are the context mask. Each image is a pure function
of (seed, split, number), so subsets, order and processes do not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from wsss.files.imaging import VOC_COLOURS, save_image
from wsss.runtime import console
from wsss.settings.sections import ScenesSection
from wsss.stages.dataset import backdrops, objects, painting
from wsss.stages.dataset.painting import UNIT, Placed
from wsss.stages.dataset.textures import random_coat
from wsss.training import draws

COOCCURRING = "train"
"""The class that comes with its own background."""
RAILS_WITH, RAILS_WITHOUT = 0.95, 0.03
"""Share of images with and without a train that show a railway."""
MIN_VISIBLE_PX, MIN_VISIBLE = 40, 0.25
"""An object with fewer visible pixels, or a smaller share of its own visible, is left out."""
MAIN_SIZE, OTHER_SIZE, CLUTTER_SIZE = (0.36, 0.7), (0.15, 0.5), (0.12, 0.42)
"""Object size, the square root of its bounding box's area, as a share of the image's shorter side."""
LEAST_SIZE = 14.0
"""Smallest object size, px."""
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


def class_names() -> list[str]:
    """Foreground classes in the order of their ids, 1..C."""
    return list(objects.CLASSES)


# ---------------------------------------------------------------- layout


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """Where and when an image is: size (H, W) px, first row of the ground, first row to stand on, kinds and the light's side."""

    size: tuple[int, int]
    horizon: int
    footing: float
    ground: str
    hour: str
    light: float


def _setting(rng: np.random.Generator, *, min_side: int, max_side: int) -> _Setting:
    height, width = (int(v) for v in rng.integers(min_side, max_side + 1, 2))
    ground, hour = (
        str(rng.choice(list(backdrops.GROUNDS))),
        str(rng.choice(list(backdrops.SKIES), p=[0.45, 0.25, 0.18, 0.12])),
    )
    horizon = 0 if rng.random() < 0.15 else int(rng.uniform(0.18, 0.5) * height)
    footing = horizon + (backdrops.DRY if ground == "shore" else 0.06) * (height - horizon)
    return _Setting(
        size=(height, width),
        horizon=horizon,
        footing=footing,
        ground=ground,
        hour=hour,
        light=float(rng.choice([-1.0, 1.0])),
    )


def _place(
    rng: np.random.Generator, name: str, layers: list[objects.Layer], *, where: _Setting, share: tuple[float, float]
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
    """What remains when the most hidden object is left out, again and again, until all are visible enough; `things` from the back to the front."""
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


def _layout(rng: np.random.Generator, *, number: int, where: _Setting) -> list[Placed]:
    """Clutter, 1 to 3 classes and up to 4 objects, from the back to the front; the first class goes round with the number."""
    names = class_names()
    first = names[number % len(names)]
    others = rng.choice(
        [n for n in names if n != first], int(rng.choice([0, 1, 2], p=[0.42, 0.38, 0.20])), replace=False
    )
    wanted = [first, *(str(n) for n in others)]
    wanted += [str(n) for n in rng.choice(wanted, int(rng.random() < 0.3)) if n != COOCCURRING]
    things: list[Placed] = []
    for k, name in enumerate(wanted + [""] * int(rng.integers(0, 4))):
        layers = objects.CLASSES.get(name, objects.clutter)(rng, random_coat(rng))
        tolerance = float(rng.choice([0.05, 0.15, 0.45]))
        best: tuple[float, Placed] | None = None
        for _ in range(6):
            # Of a few positions the first that is not too crowded, else the least crowded: some occlusion stays.
            place = _place(
                rng, name, layers, where=where, share=MAIN_SIZE if k == 0 else OTHER_SIZE if name else CLUTTER_SIZE
            )
            crowding = max((_overlap(place, other) for other in things), default=0.0)
            if best is None or crowding < best[0]:
                best = (crowding, place)
            if crowding <= tolerance:
                break
        assert best is not None
        things.append(best[1])
    return _visible(sorted(things, key=lambda x: x.foot), size=where.size)


# ---------------------------------------------------------------- scenes


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
    where = _setting(rng, min_side=min_side, max_side=max_side)
    things = _layout(rng, number=number, where=where)
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


def _add(canvas: np.ndarray, planes: list[tuple[np.ndarray, int]], thing: Placed, *, where: _Setting) -> None:
    """Paint an object and its shadow (in place)."""
    painting.cast_shadow(canvas, thing, light=where.light, strength=SHADOWS[where.hour])
    painting.paint(canvas, planes, thing, light=where.light)


def _track(rng: np.random.Generator, things: list[Placed], *, where: _Setting) -> tuple[float, float, float] | None:
    """The railway, if this image has one: y at the image's middle (px), length of a train on it (px), slope."""
    trains = [thing for thing in things if thing.name == COOCCURRING]
    if rng.random() >= (RAILS_WITH if trains else RAILS_WITHOUT):
        return None
    height, width = where.size
    if trains:
        return trains[0].foot + trains[0].slope * (width / 2 - trains[0].frame[0, 2]), trains[0].scale, trains[0].slope
    return (
        float(rng.uniform(max(where.footing, 0.55 * height), 0.9 * height)),
        float(rng.uniform(0.5, 0.9) * width),
        0.0,
    )


# ---------------------------------------------------------------- files


def draw_scenes(folder: Path, *, settings: ScenesSection) -> list[dict[str, object]]:
    """Draw the data set and write it as PNGs.

    Args:
        folder: Where images/, masks/, instances/ and context/ are made. Masks are palette PNGs with the VOC colours.
        settings: Sizes, counts and the seed of the drawing.

    Returns:
        One dict an image: image_id, split, height, width, labels (class names), and image, mask, instances, context (paths relative to `folder`).
    """
    for kind in ("images", "masks", "instances", "context"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    return [
        _write(folder, split=split, number=number, settings=settings)
        for split, number in console.progress(list(_numbers(settings)), what="draw scenes")
    ]


def _numbers(settings: ScenesSection) -> Iterator[tuple[str, int]]:
    for split, count in (("train", settings.train), ("val", settings.val)):
        yield from ((split, number) for number in range(1, count + 1))


def _write(folder: Path, *, split: str, number: int, settings: ScenesSection) -> dict[str, object]:
    """Draw and write one image; its row."""
    scene = draw_scene(settings.generator_seed, split, number, min_side=settings.min_side, max_side=settings.max_side)
    image_id = f"{split}_{number:04d}"
    paths = {
        "image": f"images/{image_id}.png",
        "mask": f"masks/{image_id}.png",
        "instances": f"instances/{image_id}.png",
        "context": f"context/{image_id}.png",
    }
    save_image(folder / paths["image"], Image.fromarray(scene.image_u8), compress_level=1)
    for key, plane in (("mask", scene.mask), ("instances", scene.instances), ("context", scene.context)):
        image = Image.fromarray(plane)
        if key != "context":
            image.putpalette(VOC_COLOURS.tobytes())
        save_image(folder / paths[key], image)
    height, width = scene.mask.shape
    return {"image_id": image_id, "split": split, "height": height, "width": width, "labels": scene.labels, **paths}
