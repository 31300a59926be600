"""Backgrounds of the embedded data set: grounds, skies, what stands on the horizon, and the railway (no torch).

Colours are RGB, [0, 255]. Canvases are supersampled: one pixel of the image is `unit` px wide.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from wsss.stages.dataset.drawing.textures import PALETTE, Colour, noise, receding, shade

DRY = 0.35
"""On a shore, the share of the ground under the horizon that water may take; nothing stands there."""


# ---------------------------------------------------------------- grounds: (rng, (h, w), unit) -> (h, w, 3) float32


def meadow(rng: np.random.Generator, shape: tuple[int, int], unit: int) -> np.ndarray:
    """Grass: mottled, with blades and a few flowers."""
    h, w = shape
    base = PALETTE[int(rng.choice([0, 0, 8]))]
    mottle = 0.16 * noise(rng, shape, cells=(5, 4))
    grain = 0.10 * noise(rng, shape, cells=(h / unit / 3, w / unit / 2), octaves=1)
    ground = shade(base, 1 + mottle + grain)
    count = h * w // (30 * unit * unit)
    for tone in (0.62, 0.8, 1.18, 1.4):
        x, y = rng.uniform(0, w, count), rng.uniform(0, h, count)
        long = (1.5 + 4 * y / h) * unit * rng.uniform(0.6, 1.2, count)
        tip = np.stack([x + rng.normal(0, 0.25, count) * long, y - long], axis=1)
        blades = np.stack([np.stack([x, y], axis=1), tip], axis=1).astype(np.int32)
        cv2.polylines(ground, list(blades), False, tuple(c * tone for c in base), max(1, unit // 2))
    if rng.random() < 0.5:
        petals = [(238, 232, 224), (224, 196, 92), (196, 168, 208)][int(rng.integers(3))]
        for x, y in rng.uniform(0, 1, (int(rng.integers(8, 28)), 2)):
            cv2.circle(ground, (int(x * w), int(y * h)), max(1, int(unit * (0.5 + y))), petals, -1)
    return ground


def sand(rng: np.random.Generator, shape: tuple[int, int], unit: int) -> np.ndarray:
    """Sand with wind ripples."""
    h, w = shape
    rows = np.arange(h, dtype=np.float32)[:, None] / unit
    wave = np.sin(rows * rng.uniform(0.7, 1.1) + 5 * noise(rng, shape, cells=(2, 3), octaves=2))
    mottle = 0.08 * noise(rng, shape, cells=(3, 3))
    grain = 0.05 * noise(rng, shape, cells=(h / unit, w / unit), octaves=1)
    return shade(PALETTE[1], 1.05 + 0.07 * receding(wave) + mottle + grain)


def snow(rng: np.random.Generator, shape: tuple[int, int], unit: int) -> np.ndarray:
    """Snow: soft bluish drifts."""
    drift = receding(noise(rng, shape, cells=(6, 3), octaves=3))
    ground = shade((226, 230, 238), 1 + 0.02 * noise(rng, shape, cells=(shape[0] / unit, shape[1] / unit), octaves=1))
    return ground + drift[..., None] * np.array([17, 13, 7], np.float32)


def rock(rng: np.random.Generator, shape: tuple[int, int], unit: int) -> np.ndarray:
    """Bare rock with cracks."""
    base = PALETTE[int(rng.choice([2, 2, 4, 9]))]
    cracks = np.minimum(np.abs(receding(noise(rng, shape, cells=(7, 5), octaves=2))) * 7, 1)
    field = (0.72 + 0.33 * cracks) * (1 + 0.17 * receding(noise(rng, shape, cells=(5, 4), octaves=5)))
    return shade(base, field + 0.04 * noise(rng, shape, cells=(shape[0] / unit, shape[1] / unit), octaves=1))


def planks(rng: np.random.Generator, shape: tuple[int, int], unit: int) -> np.ndarray:
    """A wooden floor, its boards running to a vanishing point."""
    h, w = shape
    base = PALETTE[int(rng.choice([3, 6, 1]))]
    ground = np.empty((h, w, 3), np.float32)
    centre, wide = rng.uniform(0.3, 0.7) * w, rng.uniform(0.10, 0.16) * w
    for k in range(-22, 22):
        top = [centre + (j * wide) * 0.45 for j in (k, k + 1)]
        low = [centre + (j * wide) * 1.5 for j in (k, k + 1)]
        quad = np.array([[top[0], 0], [top[1], 0], [low[1], h], [low[0], h]], np.int32)
        tone = rng.uniform(0.82, 1.12)
        cv2.fillPoly(ground, [quad], tuple(c * tone for c in base))
        cv2.line(ground, quad[0].tolist(), quad[3].tolist(), tuple(c * 0.55 for c in base), max(1, unit // 3))
    return ground * (1 + 0.09 * noise(rng, shape, cells=(5, w / unit / 3), octaves=2))[..., None]


def street(rng: np.random.Generator, shape: tuple[int, int], unit: int) -> np.ndarray:
    """Asphalt with a kerb and a broken line."""
    h, w = shape
    mottle = 0.07 * noise(rng, shape, cells=(4, 4))
    grain = 0.09 * noise(rng, shape, cells=(h / unit, w / unit), octaves=1)
    ground = shade((112, 112, 116), 1 + mottle + grain)
    kerb = int(h * rng.uniform(0.12, 0.3))
    ground[:kerb] *= np.array([1.42, 1.38, 1.3], np.float32)
    cv2.rectangle(ground, (0, kerb), (w, kerb + 2 * unit), (178, 176, 170), -1)
    cv2.rectangle(ground, (0, kerb + 2 * unit), (w, kerb + 3 * unit), (72, 72, 76), -1)
    slabs = np.arange(rng.uniform(0, 1), 40) * 14 * unit
    for x in slabs[slabs < w * 1.2]:
        cv2.line(ground, (int(x), 0), (int(x - 5 * unit), kerb), (128, 125, 120), max(1, unit // 3))
    line, dash, start = int(h * rng.uniform(0.55, 0.85)), int(22 * unit), int(rng.uniform(-20, 0) * unit)
    for x in range(start, w, 2 * dash):
        low, lean = line + 3 * unit, 2 * unit
        corners = [[x, line], [x + dash, line], [x + dash - lean, low], [x - lean, low]]
        cv2.fillPoly(ground, [np.array(corners, np.int32)], (206, 204, 196))
    return ground


def shore(rng: np.random.Generator, shape: tuple[int, int], unit: int) -> np.ndarray:
    """Water with glints, then a wet and a dry beach."""
    h, w = shape
    glint = receding(noise(rng, shape, cells=(h / unit / 3, 7), octaves=2))
    water = shade((74, 122, 142), 1 + 0.20 * glint) + np.maximum(glint - 0.7, 0)[..., None] * 130
    edge = h * rng.uniform(0.15, 0.9) * DRY + 0.03 * h * noise(rng, (1, w), cells=(1, 4), octaves=2)[0]
    depth = (np.arange(h, dtype=np.float32)[:, None] - edge) / unit
    beach = sand(rng, shape, unit) * (0.72 + 0.28 * np.clip(depth / 12, 0, 1))[..., None]
    ground = np.where(depth[..., None] > 0, beach, water)
    foam = np.exp(-((depth / 1.1) ** 2))[..., None] * 0.8
    return ground + (np.float32(240) - ground) * foam


def leaves(rng: np.random.Generator, shape: tuple[int, int], unit: int) -> np.ndarray:
    """Forest floor: earth under fallen leaves."""
    h, w = shape
    ground = shade(PALETTE[3], 0.8 + 0.2 * noise(rng, shape, cells=(6, 5), octaves=4))
    colours = [PALETTE[k] for k in (6, 1, 3, 0)]
    for x, y, angle, tone in rng.uniform(0, 1, (h * w // (60 * unit * unit), 4)):
        size = unit * (1.2 + 2.4 * y)
        colour = tuple(c * (0.65 + 0.5 * tone) for c in colours[int(tone * 97) % 4])
        axes = (int(size), max(1, int(size * 0.45)))
        cv2.ellipse(ground, (int(x * w), int(y * h)), axes, angle * 360, 0, 360, colour, -1)
    return ground


GROUNDS: dict[str, Callable[[np.random.Generator, tuple[int, int], int], np.ndarray]] = {
    "meadow": meadow,
    "sand": sand,
    "snow": snow,
    "rock": rock,
    "planks": planks,
    "street": street,
    "shore": shore,
    "leaves": leaves,
}


# ---------------------------------------------------------------- what is above the horizon

SKIES: dict[str, tuple[Colour, Colour]] = {
    "day": ((96, 152, 208), (200, 222, 234)),
    "overcast": ((150, 158, 166), (206, 208, 206)),
    "dusk": ((92, 88, 142), (240, 170, 118)),
    "night": ((22, 26, 58), (62, 68, 108)),
}
"""Colours of the sky at the top and at the horizon."""


def sky(rng: np.random.Generator, shape: tuple[int, int], *, hour: str, unit: int) -> np.ndarray:
    """(h, w, 3) float32 sky with clouds, or stars at night."""
    h, w = shape
    top, low = (np.array(c, np.float32) for c in SKIES[hour])
    field = np.repeat(top + (low - top) * np.linspace(0, 1, h, dtype=np.float32)[:, None, None], w, axis=1)
    if hour == "night":
        for x, y in rng.uniform(0, 1, (25, 2)):
            cv2.circle(field, (int(x * w), int(y * h)), max(1, unit // 3), (225, 225, 205), -1)
        return field
    clouds = np.clip(noise(rng, shape, cells=(3, 3), octaves=4) * 1.5 - 0.25, 0, 1) * np.float32(0.75)
    tint = (252, 214, 190) if hour == "dusk" else (246, 246, 246)
    pairs = zip(tint, cv2.split(field), strict=True)
    return cv2.merge([plane + (np.float32(t) - plane) * clouds for t, plane in pairs])


def skyline(rng: np.random.Generator, canvas: np.ndarray, *, horizon: int, ground: str, hour: str, unit: int) -> None:
    """Draw hills, trees or houses on the canvas (in place), standing on the horizon."""
    w, haze = canvas.shape[1], np.array(SKIES[hour][1], np.float64)
    if ground == "street":
        left = -int(rng.uniform(0, 20) * unit)
        while left < w:
            wide, high = int(rng.uniform(14, 32) * unit), int(horizon * rng.uniform(0.45, 1.1))
            wall = np.array(PALETTE[int(rng.integers(len(PALETTE)))]) * 0.55 + haze * 0.3
            cv2.rectangle(canvas, (left, horizon - high), (left + wide - 1, horizon), wall.tolist(), -1)
            pane = (236, 206, 128) if hour in ("night", "dusk") else (wall * 0.62).tolist()
            for px in range(left + 3 * unit, left + wide - 4 * unit, 6 * unit):
                for py in range(horizon - high + 4 * unit, horizon - 4 * unit, 8 * unit):
                    cv2.rectangle(canvas, (px, py), (px + 3 * unit, py + 4 * unit), pane, -1)
            left += wide
        return
    for depth in (0.35, 0.75):
        hills = np.abs(noise(rng, (1, w), cells=(1, 4), octaves=3)[0])
        ridge = horizon * (1 - 0.35 * (1.1 - depth)) - 0.22 * horizon * hills
        colour = np.array(PALETTE[int(rng.choice([0, 2, 3, 4, 8, 9]))]) * 0.8 * depth + haze * (1 - depth)
        outline = np.concatenate([np.stack([np.arange(w), ridge], axis=1), [[w, horizon], [0, horizon]]])
        cv2.fillPoly(canvas, [outline.astype(np.int32)], colour.tolist())
    if ground in ("meadow", "leaves", "snow"):
        for x in rng.uniform(0, w, int(rng.integers(4, 16))):
            tall, dark = horizon * rng.uniform(0.3, 0.8), rng.uniform(0.42, 0.75)
            for k in (0.0, 0.3, 0.6):
                half, low = tall * (0.10 + 0.14 * k), horizon - tall * (0.6 - k)
                tier = np.array([[x, horizon - tall * (1 - 0.25 * k)], [x - half, low], [x + half, low]], np.int32)
                cv2.fillPoly(canvas, [tier], (np.array((78, 104, 70)) * dark + haze * 0.12).tolist())


def wall(rng: np.random.Generator, shape: tuple[int, int], *, unit: int) -> np.ndarray:
    """(h, w, 3) float32 indoor wall: paper with faint stripes, a skirting board, sometimes an image."""
    h, w = shape
    base = PALETTE[int(rng.choice([1, 4, 5, 8, 9]))]
    stripes = np.sin(np.arange(w, dtype=np.float32)[None] / unit * rng.uniform(0.25, 0.7))
    field = shade(base, 0.95 + 0.05 * np.sign(stripes) + 0.04 * noise(rng, shape, cells=(3, 3)))
    if rng.random() < 0.7 and h > 14 * unit:
        x, high = int(rng.uniform(0.05, 0.7) * w), int(0.6 * h)
        top, right, rim = int(0.1 * h), x + int(high * 1.2), unit * 2
        cv2.rectangle(field, (x, top), (right, top + high), tuple(c * 0.45 for c in PALETTE[3]), -1)
        paper = tuple(map(float, PALETTE[int(rng.integers(10))]))
        cv2.rectangle(field, (x + rim, top + rim), (right - rim, top + high - rim), paper, -1)
    cv2.rectangle(field, (0, h - 4 * unit), (w, h), tuple(c * 0.9 for c in PALETTE[5]), -1)
    return field


def backdrop(
    rng: np.random.Generator, *, size: tuple[int, int], horizon: int, ground: str, hour: str, unit: int
) -> np.ndarray:
    """(H * unit, W * unit, 3) uint8 background of an image of `size` (H, W) whose ground begins at row `horizon`."""
    height, width, edge = size[0] * unit, size[1] * unit, horizon * unit
    canvas = np.empty((height, width, 3), np.float32)
    if edge > 0 and ground == "planks":
        canvas[:edge] = wall(rng, (edge, width), unit=unit)
    elif edge > 0:
        canvas[:edge] = sky(rng, (edge, width), hour=hour, unit=unit)
        skyline(rng, canvas, horizon=edge, ground=ground, hour=hour, unit=unit)
    canvas[edge:] = GROUNDS[ground](rng, (height - edge, width), unit)
    return cv2.convertScaleAbs(np.maximum(canvas, 0))


BED = 0.13
"""Where the railway's bed ends in front of the near rail, as a share of its scale."""


def rails(
    rng: np.random.Generator, canvas: np.ndarray, *, foot: float, scale: float, slope: float, unit: int
) -> np.ndarray:
    """Draw a railway across the canvas (in place): ballast, sleepers and two rails.

    Args:
        rng: Source of the draws.
        canvas: (h, w, 3) uint8.
        foot: y of the near rail at the canvas's middle, px.
        scale: Length that a train on it has, px.
        slope: Rise of the track, px per px.
        unit: Canvas px per image px.

    Returns:
        (h, w) uint8: 1 on the railway.
    """
    h, w = canvas.shape[:2]
    xs = np.array([-0.1 * w, 1.1 * w])

    def band(low: float, high: float) -> np.ndarray:
        ys = foot + slope * (xs - w / 2)
        corners = [[xs[0], ys[0] + low], [xs[1], ys[1] + low], [xs[1], ys[1] + high], [xs[0], ys[0] + high]]
        return np.array(corners).round().astype(np.int32)

    near, far = 0.12 * scale, -0.10 * scale
    bed = np.zeros((h, w), np.uint8)
    cv2.fillPoly(bed, [band(far * 1.25, BED * scale)], 1)
    stones = noise(rng, (h, w), cells=(h / unit / 2, w / unit / 2), octaves=2)
    ballast = shade((138, 128, 120), 0.92 + 0.26 * stones)
    np.copyto(canvas, np.clip(ballast, 0, 255).astype(np.uint8), where=bed[..., None] > 0)
    step = max(0.085 * scale, 5 * unit)
    for x in np.arange(rng.uniform(-1, 0) * step, w + step, step):
        y, half = foot + slope * (x - w / 2), 0.2 * step
        top, low, shift = y + far * 0.75, y + near * 0.7, 0.03 * scale
        quad = np.array(
            [[x - half + shift, top], [x + half + shift, top], [x + half * 1.3, low], [x - half * 1.3, low]]
        )
        tone = rng.uniform(0.6, 0.85)
        cv2.fillPoly(canvas, [quad.round().astype(np.int32)], tuple(c * tone for c in PALETTE[3]))
    thick = max(0.018 * scale, 1.2 * unit)
    for y in (far * 0.45, 0.2 * near):
        cv2.fillPoly(canvas, [band(y, y + thick)], (88, 78, 74))
        cv2.fillPoly(canvas, [band(y, y + thick * 0.45)], (206, 206, 212))
    return bed
