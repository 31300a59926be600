"""The six drawn classes and the clutter between them: pure geometry in unit coordinates (no torch).

Frame: x to the right, y down, the ground at y = 0, the object about 1 wide and facing right (+x). A drawing is a list of layers,
painted in order. Each class has one small part that is its own (a face, a nose) in colours of its own, and a large body whose
coat, colours and texture are drawn from the same distribution for all classes and for the clutter; silhouette, tail, legs and
wheels are the weaker evidence that a body carries.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wsss.stages.dataset.shapes import Layer, blob, box, curve, ellipse, moved, polygon, tube
from wsss.stages.dataset.textures import Coat, Colour

INK: Colour = (30, 27, 30)
WHITE: Colour = (250, 248, 240)
GLASS: Colour = (150, 188, 205)
TYRE: Colour = (44, 43, 48)
STEEL: Colour = (168, 170, 176)


def _flat(paint: Colour, *polygons: np.ndarray) -> Layer:
    return Layer(polygons=list(polygons), paint=paint)


def _round(paint: Coat | Colour, *polygons: np.ndarray, tone: float = 1.0, relief: float = 1.0) -> Layer:
    return Layer(polygons=list(polygons), paint=paint, relief=relief, tone=tone, rim=True)


# ---------------------------------------------------------------- animals


def _quadruped(rng: np.random.Generator, coat: Coat, *, tail: list[np.ndarray], stout: float) -> list[Layer]:
    """Body, legs and tail that cats and dogs share but for proportions."""
    leg, stride, back = rng.uniform(0.17, 0.25), rng.uniform(-0.07, 0.07), rng.uniform(-0.03, 0.03)
    lift = leg - 0.22
    trunk = blob(
        (-0.37, -0.40),
        (-0.30, -0.51 - stout),
        (-0.05, -0.47 + back),
        (0.17, -0.51 - stout),
        (0.30, -0.46),
        (0.31, -0.34),
        (0.2, -0.23),
        (-0.04, -0.22 - stout),
        (-0.26, -0.21),
        (-0.37, -0.29),
    )
    neck = tube([(0.21, -0.40), (0.30, -0.56)], 0.105, 0.08)

    def legs(xs: tuple[float, float], swing: float) -> list[np.ndarray]:
        shapes = []
        for x, s in zip(xs, (swing, -swing), strict=True):
            shapes += tube([(x, -0.32), (x + s * 0.4, -0.16), (x + s, -0.035 + lift)], 0.07, 0.042)
            shapes.append(ellipse(x + s + 0.025, -0.03 + lift, 0.06, 0.035))
        return shapes

    layers = [
        _round(coat, *legs((-0.22, 0.24), -stride), tone=0.68),
        _round(coat, *tail, tone=0.9),
        _round(coat, trunk, *neck, *legs((-0.29, 0.19), stride)),
    ]
    return moved(layers, 0.0, -lift)


def cat(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Own part: pale face with dark pointed ears, green eyes and a pink nose. Weak: the long tail."""
    curl = rng.uniform(-0.06, 0.1)
    tail = tube(
        [(-0.33, -0.43), (-0.45, -0.50), (-0.50, -0.68), (-0.43 + curl, -0.82), (-0.36 + curl * 2, -0.80)], 0.042, 0.026
    )
    face = [
        _round(
            (62, 50, 52),
            blob((-0.125, -0.03), (-0.135, -0.185), (-0.10, -0.20), (-0.01, -0.09)),
            blob((0.125, -0.03), (0.135, -0.185), (0.10, -0.20), (0.01, -0.09)),
            relief=0.5,
        ),
        _flat(
            (238, 150, 158),
            polygon((-0.105, -0.08), (-0.115, -0.165), (-0.055, -0.095)),
            polygon((0.105, -0.08), (0.115, -0.165), (0.055, -0.095)),
        ),
        _round((240, 226, 200), ellipse(0, 0, 0.145, 0.12), relief=0.8),
        _flat(
            (62, 50, 52),
            polygon((-0.012, -0.12), (0.012, -0.12), (0, -0.06)),
            polygon((-0.055, -0.112), (-0.034, -0.116), (-0.034, -0.07)),
            polygon((0.055, -0.112), (0.034, -0.116), (0.034, -0.07)),
        ),
        _flat((70, 190, 84), ellipse(-0.062, -0.015, 0.037, 0.037), ellipse(0.062, -0.015, 0.037, 0.037)),
        _flat(INK, ellipse(-0.062, -0.015, 0.013, 0.034), ellipse(0.062, -0.015, 0.013, 0.034)),
        _flat(WHITE, ellipse(-0.05, -0.03, 0.01, 0.01), ellipse(0.074, -0.03, 0.01, 0.01)),
        _flat((232, 104, 122), blob((-0.026, 0.03), (0.026, 0.03), (0, 0.056))),
        _flat(
            (110, 70, 66),
            *tube([(-0.05, 0.075), (-0.02, 0.085), (0, 0.06), (0.02, 0.085), (0.05, 0.075)], 0.006, 0.006),
        ),
        _flat(
            (120, 100, 92),
            *(
                polygon((s * 0.07, y), (s * 0.138, y + d), (s * 0.138, y + d + 0.009))
                for s in (-1, 1)
                for y, d in ((0.04, -0.012), (0.055, 0.005))
            ),
        ),
    ]
    return _quadruped(rng, coat, tail=tail, stout=0.0) + moved(
        face, 0.345 + rng.uniform(-0.02, 0.02), -0.64 + rng.uniform(-0.04, 0.04), scale=0.88
    )


def dog(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Own part: tan face with a white blaze, hanging ears, black nose, tongue and red collar. Weak: the short raised tail."""
    wag = rng.uniform(-0.06, 0.05)
    tail = tube([(-0.34, -0.46), (-0.42, -0.53), (-0.45 + wag, -0.64)], 0.05, 0.02)
    face = [
        _round((206, 40, 46), *tube([(-0.15, 0.10), (-0.05, 0.135), (0.05, 0.11)], 0.03, 0.03), relief=0.6),
        _flat((245, 205, 70), ellipse(-0.03, 0.155, 0.026, 0.026)),
        _round((216, 148, 78), ellipse(0, 0, 0.125, 0.13), relief=0.8),
        _flat(WHITE, blob((-0.022, -0.125), (0.022, -0.125), (0.03, -0.02), (-0.03, -0.02))),
        _flat((222, 70, 92), blob((-0.026, 0.10), (0.026, 0.10), (0.028, 0.16), (0, 0.18), (-0.028, 0.16))),
        _round(WHITE, ellipse(0, 0.06, 0.085, 0.065), relief=0.5),
        _flat(
            INK,
            ellipse(0, 0.03, 0.04, 0.028),
            ellipse(-0.06, -0.035, 0.024, 0.028),
            ellipse(0.06, -0.035, 0.024, 0.028),
            *tube([(-0.05, 0.07), (-0.03, 0.088), (0, 0.06), (0.03, 0.088), (0.05, 0.07)], 0.007, 0.007),
        ),
        _flat(
            WHITE,
            ellipse(-0.052, -0.046, 0.009, 0.009),
            ellipse(0.068, -0.046, 0.009, 0.009),
            ellipse(0.012, 0.022, 0.01, 0.006),
        ),
        _round(
            (92, 50, 30),
            blob((-0.08, -0.125), (-0.15, -0.08), (-0.185, 0.04), (-0.15, 0.105), (-0.11, 0.03), (-0.105, -0.05)),
            blob((0.08, -0.125), (0.15, -0.08), (0.185, 0.04), (0.15, 0.105), (0.11, 0.03), (0.105, -0.05)),
            relief=0.7,
        ),
    ]
    return _quadruped(rng, coat, tail=tail, stout=0.03) + moved(
        face, 0.345 + rng.uniform(-0.02, 0.02), -0.645 + rng.uniform(-0.04, 0.04), scale=0.88
    )


def bird(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Own part: crimson head with a crest, yellow bill and white-ringed eye. Weak: wing, tail feathers, thin legs."""
    lean, spread = rng.uniform(-0.04, 0.04), rng.uniform(0.0, 0.06)
    trunk = blob(
        (-0.30, -0.32),
        (-0.16, -0.47),
        (0.06, -0.56),
        (0.22, -0.60 + lean),
        (0.32, -0.52 + lean),
        (0.30, -0.36),
        (0.16, -0.23),
        (-0.06, -0.19),
        (-0.22, -0.23),
    )
    feathers = [
        blob(
            (-0.20, -0.34),
            (-0.40, -0.30 + k * (0.045 + spread)),
            (-0.52 + 0.03 * abs(k), -0.22 + k * (0.07 + spread)),
            (-0.38, -0.22 + k * (0.04 + spread)),
            (-0.20, -0.24),
        )
        for k in (-1, 0, 1)
    ]
    legs = [
        shape
        for x in (-0.02, 0.11)
        for shape in (
            *tube([(x, -0.24), (x + 0.015, -0.02)], 0.016, 0.013),
            *tube([(x - 0.03, -0.014), (x + 0.08, -0.014)], 0.014, 0.008),
        )
    ]
    wing = blob(
        (0.16, -0.46),
        (0.02, -0.48),
        (-0.16, -0.38),
        (-0.33, -0.25 - spread),
        (-0.14, -0.25),
        (0.06, -0.29),
        (0.17, -0.36),
    )
    head = [
        _round(
            (170, 20, 40),
            *(
                blob((-0.02, -0.07), (x - 0.03, -0.16 - h), (x, -0.19 - h), (0.05, -0.08))
                for x, h in ((-0.10, -0.02), (-0.04, 0.02), (0.03, 0.0))
            ),
            relief=0.4,
        ),
        _round((214, 34, 50), ellipse(0, 0, 0.12, 0.115), relief=0.9),
        _round(
            (252, 190, 36),
            blob((0.085, -0.045), (0.17, -0.02), (0.245, 0.025), (0.16, 0.035), (0.09, 0.035)),
            relief=0.5,
        ),
        _flat((200, 120, 20), polygon((0.10, 0.012), (0.235, 0.024), (0.10, 0.02))),
        _flat(
            WHITE,
            ellipse(0.03, -0.022, 0.046, 0.046),
            blob((-0.07, 0.03), (-0.02, 0.045), (0.03, 0.075), (-0.02, 0.095), (-0.07, 0.07)),
        ),
        _flat(INK, ellipse(0.036, -0.022, 0.028, 0.028)),
        _flat(WHITE, ellipse(0.046, -0.032, 0.009, 0.009)),
    ]
    return [
        _flat((74, 66, 62), *legs), _round(coat, *feathers, tone=0.78), _round(coat, trunk), _round(coat, wing, tone=0.84),
        *moved(head, 0.285 + rng.uniform(-0.02, 0.02), -0.655 + lean),
    ]  # fmt: skip


def turtle(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Own part: bright lime head with orange stripes. Weak: the dome with its edge, stub legs."""
    high, step, reach = rng.uniform(0.46, 0.58), rng.uniform(-0.03, 0.03), rng.uniform(-0.02, 0.03)
    near = [
        shape for x, s in ((-0.26, -step), (0.22, step)) for shape in tube([(x, -0.16), (x + s, -0.045)], 0.085, 0.06)
    ]
    far = [
        shape for x, s in ((-0.13, step), (0.11, -step)) for shape in tube([(x, -0.16), (x + s, -0.06)], 0.075, 0.05)
    ]
    dome = blob(
        (-0.44, -0.15),
        (-0.40, -0.30),
        (-0.26, -high + 0.06),
        (-0.02, -high),
        (0.22, -high + 0.08),
        (0.35, -0.30),
        (0.38, -0.15),
        (0.0, -0.11),
    )
    edge = [
        np.concatenate(
            [
                curve([(-0.46, -0.17), (0.0, -0.135), (0.40, -0.17)], closed=False),
                curve([(0.39, -0.11), (0.0, -0.075), (-0.45, -0.11)], closed=False),
            ]
        )
    ]
    head = [
        _round((164, 206, 58), ellipse(0, 0, 0.105, 0.088), ellipse(0.06, 0.018, 0.07, 0.06), relief=0.9),
        _flat(
            (240, 112, 30),
            blob((-0.10, -0.012), (-0.04, -0.012), (0.0, 0.012), (-0.04, 0.018), (-0.095, 0.018)),
            blob((-0.09, 0.04), (-0.03, 0.036), (0.03, 0.05), (-0.02, 0.068)),
            blob((-0.07, -0.064), (-0.01, -0.082), (0.03, -0.075), (-0.02, -0.055)),
        ),
        _flat(WHITE, ellipse(0.045, -0.03, 0.032, 0.032)),
        _flat(
            INK, ellipse(0.052, -0.028, 0.019, 0.021), *tube([(0.05, 0.045), (0.09, 0.05), (0.12, 0.035)], 0.006, 0.005)
        ),
    ]
    neck = tube([(0.30, -0.22), (0.42, -0.29)], 0.075, 0.06)
    return [
        _round(coat, *far, tone=0.62), _round(coat, *tube([(-0.40, -0.14), (-0.50, -0.10)], 0.04, 0.012), tone=0.8),
        _round(coat, *neck, tone=0.8), _round(coat, *near, tone=0.85), _round(coat, dome), _round(coat, *edge, tone=0.75, relief=0.5),
        *moved(head, 0.465 + reach, -0.33 + rng.uniform(-0.05, 0.03)),
    ]  # fmt: skip


# ---------------------------------------------------------------- vehicles


def _wheel(x: float, r: float) -> list[Layer]:
    return [
        _round(TYRE, ellipse(x, -r, r, r), relief=0.5),
        _round(STEEL, ellipse(x, -r, r * 0.55, r * 0.55), relief=0.6),
        _flat(TYRE, ellipse(x, -r, r * 0.18, r * 0.18)),
    ]


def car(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Own part: the white and blue front with its grille and round yellow lamp. Weak: cabin, windows, two big wheels."""
    roof, rear, r = rng.uniform(0.50, 0.58), rng.uniform(-0.36, -0.24), rng.uniform(0.095, 0.115)
    shell = blob(
        (-0.49, -0.14),
        (-0.50, -0.29),
        (-0.46, -0.34),
        (0.30, -0.34),
        (0.46, -0.30),
        (0.49, -0.22),
        (0.48, -0.12),
        (0.0, -0.10),
    )
    cabin = blob(
        (rear - 0.10, -0.31),
        (rear, -roof + 0.03),
        (rear + 0.08, -roof),
        (0.06, -roof),
        (0.14, -roof + 0.04),
        (0.29, -0.31),
    )
    panes = [
        box(rear + 0.015, -roof + 0.05, -0.09, -0.345, round_by=0.03),
        blob((-0.05, -0.345), (-0.05, -roof + 0.05), (0.06, -roof + 0.05), (0.115, -roof + 0.07), (0.20, -0.345)),
    ]
    front = [
        _round(
            WHITE,
            blob((0.335, -0.335), (0.43, -0.32), (0.495, -0.27), (0.51, -0.14), (0.43, -0.11), (0.36, -0.19)),
            relief=0.5,
        ),
        _flat((36, 74, 196), polygon((0.37, -0.33), (0.405, -0.325), (0.40, -0.13), (0.375, -0.17))),
        _flat(INK, *(box(0.465, y, 0.505, y + 0.014, round_by=0.005) for y in (-0.245, -0.215, -0.185))),
        _round((255, 214, 70), ellipse(0.437, -0.225, 0.046, 0.05), relief=0.4),
        _flat((255, 246, 200), ellipse(0.445, -0.238, 0.02, 0.02)),
        _round((36, 74, 196), box(0.405, -0.145, 0.53, -0.105, round_by=0.02), relief=0.3),
    ]
    door = [
        _flat(
            (60, 58, 60),
            *tube([(-0.07, -0.33), (-0.07, -0.13)], 0.004, 0.004),
            *tube([(-0.03, -0.27), (0.01, -0.27)], 0.008, 0.008),
        )
    ]
    return [
        _round(coat, cabin),
        _round(GLASS, *panes, relief=0.3),
        _round(coat, shell),
        *door,
        *front,
        *_wheel(-0.29, r),
        *_wheel(0.27, r),
    ]


def train(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Own part: the yellow nose with black chevrons and lamps. Weak: long coaches, a row of windows, many small wheels."""
    top, split = rng.uniform(0.29, 0.35), rng.uniform(-0.16, -0.04)
    coaches = [
        box(-0.56, -top, split - 0.012, -0.06, round_by=0.03),
        box(split + 0.012, -top, 0.40, -0.06, round_by=0.03),
    ]
    roofs = [
        box(-0.54, -top - 0.022, split - 0.03, -top + 0.012, round_by=0.015),
        box(split + 0.03, -top - 0.022, 0.38, -top + 0.012, round_by=0.015),
    ]
    wide, gap = rng.uniform(0.055, 0.08), rng.uniform(0.025, 0.04)
    starts = [x for a, b in ((-0.53, split - 0.04), (split + 0.04, 0.34)) for x in np.arange(a, b - wide, wide + gap)]
    panes = [box(x, -top + 0.055, x + wide, -top + 0.145, round_by=0.015) for x in starts]
    y = -top
    nose = [
        _round(
            (250, 206, 32),
            blob(
                (0.36, y + 0.005),
                (0.44, y + 0.02),
                (0.52, y + 0.12),
                (0.56, -0.12),
                (0.54, -0.055),
                (0.36, -0.055),
                (0.355, y / 2),
            ),
            relief=0.6,
        ),
        _flat(INK, polygon((0.415, y + 0.03), (0.455, y + 0.045), (0.505, y + 0.125), (0.42, y + 0.125))),
        _flat((150, 205, 235), polygon((0.43, y + 0.045), (0.45, y + 0.055), (0.475, y + 0.10), (0.432, y + 0.105))),
        _flat(
            INK,
            *(
                polygon(
                    (x, -0.14),
                    (x + 0.028, -0.14),
                    (x + 0.062, -0.10),
                    (x + 0.028, -0.06),
                    (x, -0.06),
                    (x + 0.034, -0.10),
                )
                for x in (0.36, 0.415, 0.47)
            ),
        ),
        _flat(WHITE, ellipse(0.528, -0.135, 0.02, 0.02)),
        _flat((220, 40, 40), ellipse(0.365, y + 0.045, 0.014, 0.014), box(0.50, -0.055, 0.56, -0.03, round_by=0.01)),
    ]
    wheels = [w for x in (-0.49, -0.41, split - 0.10, split + 0.10, 0.24, 0.33) for w in _wheel(float(x), 0.045)]
    under = _flat(
        TYRE,
        box(-0.55, -0.075, 0.48, -0.045, round_by=0.01),
        box(split - 0.03, -top + 0.05, split + 0.03, -0.06, round_by=0.005),
    )
    return [
        under,
        *wheels,
        _round(coat, *roofs, tone=0.7, relief=0.4),
        _round(coat, *coaches, relief=0.8),
        _round(GLASS, *panes, relief=0.3),
        *nose,
    ]


# ---------------------------------------------------------------- clutter


def _boulder(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    bumps = rng.uniform(0.75, 1.1, 9)
    return [
        _round(
            coat,
            blob(
                *(
                    (0.5 * r * np.cos(t), 0.55 * r * np.sin(t))
                    for r, t in zip(bumps, np.linspace(np.pi, 2 * np.pi, 9), strict=True)
                )
            ),
        )
    ]


def _bush(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    puffs = ((-0.3, 0.0), (-0.1, 0.06), (0.12, 0.05), (0.3, 0.0), (-0.15, 0.24), (0.14, 0.22))
    return [_round(coat, ellipse(x, -0.16 - h, 0.2, 0.2), tone=float(rng.uniform(0.75, 1.05))) for x, h in puffs]


def _log(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    half = rng.uniform(0.25, 0.45)
    ends = [
        _round(coat, ellipse(half + 0.02, -0.15, r, 2 * r), tone=t, relief=0.2)
        for r, t in ((0.073, 1.25), (0.035, 0.9))
    ]
    return [_round(coat, *tube([(-half, -0.15), (half, -0.15)], 0.15, 0.15)), *ends]


def _crate(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    high = rng.uniform(0.45, 0.7)
    slats = [box(-0.37, -high, 0.37, 0.1 - high, round_by=0.02), box(-0.37, -0.1, 0.37, 0.0, round_by=0.02)]
    return [
        _round(coat, box(-0.35, -high, 0.35, 0.0, round_by=0.03), relief=0.5),
        _round(coat, *slats, tone=0.75, relief=0.4),
    ]


def _table(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """A top on four legs."""
    leg = rng.uniform(0.3, 0.45)
    legs = [
        [shape for x in xs for shape in tube([(x, -leg), (x * 1.08, -0.03)], 0.035, 0.028)]
        for xs in ((-0.24, 0.32), (-0.34, 0.22))
    ]
    top = _round(coat, box(-0.46, -leg - 0.09, 0.46, -leg + 0.01, round_by=0.03), relief=0.5)
    return [_round(coat, *legs[0], tone=0.6), _round(coat, *legs[1], tone=0.85), top]


def _cart(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """A box on wheels, as a car or coach without its front."""
    high, r = rng.uniform(0.32, 0.5), rng.uniform(0.07, 0.12)
    return [_round(coat, box(-0.45, -high, 0.45, -r, round_by=0.05)), *_wheel(-0.27, r), *_wheel(0.27, r)]


def _hut(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Walls and windows, as a coach without wheels and nose."""
    high = rng.uniform(0.35, 0.5)
    panes = [box(x, -high + 0.08, x + 0.13, -high + 0.22, round_by=0.015) for x in (-0.34, -0.14, 0.06, 0.22)]
    roof = _round(
        coat, polygon((-0.5, -high), (-0.36, -high - 0.16), (0.36, -high - 0.16), (0.5, -high)), tone=0.65, relief=0.4
    )
    return [
        _round(coat, box(-0.43, -high - 0.02, 0.43, 0.0, round_by=0.02), relief=0.7),
        roof,
        _round(GLASS, *panes, relief=0.3),
    ]


CLUTTER = (_boulder, _bush, _log, _crate, _table, _cart, _hut)


def clutter(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Part of the background, in the coats of the classes' bodies and with legs, wheels, windows and domes like theirs."""
    return CLUTTER[int(rng.integers(len(CLUTTER)))](rng, coat)


CLASSES: dict[str, Callable[[np.random.Generator, Coat], list[Layer]]] = {
    "cat": cat,
    "dog": dog,
    "bird": bird,
    "turtle": turtle,
    "car": car,
    "train": train,
}
"""Foreground classes in the order of their ids, and who draws them."""
