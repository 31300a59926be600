"""Cat, dog, bird and turtle: geometry in unit coordinates (see `objects`)."""

from __future__ import annotations

import numpy as np

from wsss.stages.dataset.drawing.shapes import (
    INK,
    WHITE,
    Layer,
    blob,
    curve,
    ellipse,
    flat,
    moved,
    polygon,
    rounded,
    tube,
)
from wsss.stages.dataset.drawing.textures import Coat


def _quadruped(rng: np.random.Generator, coat: Coat, *, tail: list[np.ndarray], stout: float) -> list[Layer]:
    """Body, legs and tail of cats and dogs, which differ in their proportions alone."""
    leg, stride, back = rng.uniform(0.17, 0.25), rng.uniform(-0.07, 0.07), rng.uniform(-0.03, 0.03)
    lift = leg - 0.22
    trunk = blob(
        (-0.37, -0.40), (-0.30, -0.51 - stout), (-0.05, -0.47 + back), (0.17, -0.51 - stout), (0.30, -0.46),
        (0.31, -0.34), (0.2, -0.23), (-0.04, -0.22 - stout), (-0.26, -0.21), (-0.37, -0.29),
    )  # fmt: skip
    neck = tube([(0.21, -0.40), (0.30, -0.56)], 0.105, 0.08)

    def legs(xs: tuple[float, float], swing: float) -> list[np.ndarray]:
        shapes = []
        for x, s in zip(xs, (swing, -swing), strict=True):
            shapes += tube([(x, -0.32), (x + s * 0.4, -0.16), (x + s, -0.035 + lift)], 0.07, 0.042)
            shapes.append(ellipse(x + s + 0.025, -0.03 + lift, 0.06, 0.035))
        return shapes

    layers = [
        rounded(coat, *legs((-0.22, 0.24), -stride), tone=0.68),
        rounded(coat, *tail, tone=0.9),
        rounded(coat, trunk, *neck, *legs((-0.29, 0.19), stride)),
    ]
    return moved(layers, 0.0, -lift)


def _cat_face() -> list[Layer]:
    """Pale, with dark pointed ears, green eyes and a pink nose."""
    return [
        rounded(
            (62, 50, 52),
            blob((-0.125, -0.03), (-0.135, -0.185), (-0.10, -0.20), (-0.01, -0.09)),
            blob((0.125, -0.03), (0.135, -0.185), (0.10, -0.20), (0.01, -0.09)),
            relief=0.5,
        ),
        flat(
            (238, 150, 158),
            polygon((-0.105, -0.08), (-0.115, -0.165), (-0.055, -0.095)),
            polygon((0.105, -0.08), (0.115, -0.165), (0.055, -0.095)),
        ),
        rounded((240, 226, 200), ellipse(0, 0, 0.145, 0.12), relief=0.8),
        flat(
            (62, 50, 52),
            polygon((-0.012, -0.12), (0.012, -0.12), (0, -0.06)),
            polygon((-0.055, -0.112), (-0.034, -0.116), (-0.034, -0.07)),
            polygon((0.055, -0.112), (0.034, -0.116), (0.034, -0.07)),
        ),
        flat((70, 190, 84), ellipse(-0.062, -0.015, 0.037, 0.037), ellipse(0.062, -0.015, 0.037, 0.037)),
        flat(INK, ellipse(-0.062, -0.015, 0.013, 0.034), ellipse(0.062, -0.015, 0.013, 0.034)),
        flat(WHITE, ellipse(-0.05, -0.03, 0.01, 0.01), ellipse(0.074, -0.03, 0.01, 0.01)),
        flat((232, 104, 122), blob((-0.026, 0.03), (0.026, 0.03), (0, 0.056))),
        flat(
            (110, 70, 66),
            *tube([(-0.05, 0.075), (-0.02, 0.085), (0, 0.06), (0.02, 0.085), (0.05, 0.075)], 0.006, 0.006),
        ),
        flat(
            (120, 100, 92),
            *(
                polygon((s * 0.07, y), (s * 0.138, y + d), (s * 0.138, y + d + 0.009))
                for s in (-1, 1)
                for y, d in ((0.04, -0.012), (0.055, 0.005))
            ),
        ),
    ]


def cat(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Own part: pale face with dark pointed ears, green eyes and a pink nose. Weak: the long tail."""
    curl = rng.uniform(-0.06, 0.1)
    tail = tube(
        [(-0.33, -0.43), (-0.45, -0.50), (-0.50, -0.68), (-0.43 + curl, -0.82), (-0.36 + curl * 2, -0.80)], 0.042, 0.026
    )
    return _quadruped(rng, coat, tail=tail, stout=0.0) + moved(
        _cat_face(), 0.345 + rng.uniform(-0.02, 0.02), -0.64 + rng.uniform(-0.04, 0.04), scale=0.88
    )


def _dog_face() -> list[Layer]:
    """Tan with a white blaze: hanging ears, black nose, tongue and red collar."""
    return [
        rounded((206, 40, 46), *tube([(-0.15, 0.10), (-0.05, 0.135), (0.05, 0.11)], 0.03, 0.03), relief=0.6),
        flat((245, 205, 70), ellipse(-0.03, 0.155, 0.026, 0.026)),
        rounded((216, 148, 78), ellipse(0, 0, 0.125, 0.13), relief=0.8),
        flat(WHITE, blob((-0.022, -0.125), (0.022, -0.125), (0.03, -0.02), (-0.03, -0.02))),
        flat((222, 70, 92), blob((-0.026, 0.10), (0.026, 0.10), (0.028, 0.16), (0, 0.18), (-0.028, 0.16))),
        rounded(WHITE, ellipse(0, 0.06, 0.085, 0.065), relief=0.5),
        flat(
            INK,
            ellipse(0, 0.03, 0.04, 0.028),
            ellipse(-0.06, -0.035, 0.024, 0.028),
            ellipse(0.06, -0.035, 0.024, 0.028),
            *tube([(-0.05, 0.07), (-0.03, 0.088), (0, 0.06), (0.03, 0.088), (0.05, 0.07)], 0.007, 0.007),
        ),
        flat(
            WHITE,
            ellipse(-0.052, -0.046, 0.009, 0.009),
            ellipse(0.068, -0.046, 0.009, 0.009),
            ellipse(0.012, 0.022, 0.01, 0.006),
        ),
        rounded(
            (92, 50, 30),
            blob((-0.08, -0.125), (-0.15, -0.08), (-0.185, 0.04), (-0.15, 0.105), (-0.11, 0.03), (-0.105, -0.05)),
            blob((0.08, -0.125), (0.15, -0.08), (0.185, 0.04), (0.15, 0.105), (0.11, 0.03), (0.105, -0.05)),
            relief=0.7,
        ),
    ]


def dog(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Own part: tan face with a white blaze, hanging ears, black nose, tongue, red collar. Weak: the raised tail."""
    wag = rng.uniform(-0.06, 0.05)
    tail = tube([(-0.34, -0.46), (-0.42, -0.53), (-0.45 + wag, -0.64)], 0.05, 0.02)
    return _quadruped(rng, coat, tail=tail, stout=0.03) + moved(
        _dog_face(), 0.345 + rng.uniform(-0.02, 0.02), -0.645 + rng.uniform(-0.04, 0.04), scale=0.88
    )


def _bird_head() -> list[Layer]:
    """Crimson with a crest: yellow bill and white-ringed eye."""
    return [
        rounded(
            (170, 20, 40),
            *(
                blob((-0.02, -0.07), (x - 0.03, -0.16 - h), (x, -0.19 - h), (0.05, -0.08))
                for x, h in ((-0.10, -0.02), (-0.04, 0.02), (0.03, 0.0))
            ),
            relief=0.4,
        ),
        rounded((214, 34, 50), ellipse(0, 0, 0.12, 0.115), relief=0.9),
        rounded(
            (252, 190, 36),
            blob((0.085, -0.045), (0.17, -0.02), (0.245, 0.025), (0.16, 0.035), (0.09, 0.035)),
            relief=0.5,
        ),
        flat((200, 120, 20), polygon((0.10, 0.012), (0.235, 0.024), (0.10, 0.02))),
        flat(
            WHITE,
            ellipse(0.03, -0.022, 0.046, 0.046),
            blob((-0.07, 0.03), (-0.02, 0.045), (0.03, 0.075), (-0.02, 0.095), (-0.07, 0.07)),
        ),
        flat(INK, ellipse(0.036, -0.022, 0.028, 0.028)),
        flat(WHITE, ellipse(0.046, -0.032, 0.009, 0.009)),
    ]


def bird(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Own part: crimson head with a crest, yellow bill and white-ringed eye. Weak: wing, tail feathers, thin legs."""
    lean, spread = rng.uniform(-0.04, 0.04), rng.uniform(0.0, 0.06)
    trunk = blob(
        (-0.30, -0.32), (-0.16, -0.47), (0.06, -0.56), (0.22, -0.60 + lean), (0.32, -0.52 + lean),
        (0.30, -0.36), (0.16, -0.23), (-0.06, -0.19), (-0.22, -0.23),
    )  # fmt: skip
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
        (0.16, -0.46), (0.02, -0.48), (-0.16, -0.38), (-0.33, -0.25 - spread), (-0.14, -0.25), (0.06, -0.29),
        (0.17, -0.36),
    )  # fmt: skip
    return [
        flat((74, 66, 62), *legs),
        rounded(coat, *feathers, tone=0.78),
        rounded(coat, trunk),
        rounded(coat, wing, tone=0.84),
        *moved(_bird_head(), 0.285 + rng.uniform(-0.02, 0.02), -0.655 + lean),
    ]


def _turtle_head() -> list[Layer]:
    """Bright lime with orange stripes."""
    return [
        rounded((164, 206, 58), ellipse(0, 0, 0.105, 0.088), ellipse(0.06, 0.018, 0.07, 0.06), relief=0.9),
        flat(
            (240, 112, 30),
            blob((-0.10, -0.012), (-0.04, -0.012), (0.0, 0.012), (-0.04, 0.018), (-0.095, 0.018)),
            blob((-0.09, 0.04), (-0.03, 0.036), (0.03, 0.05), (-0.02, 0.068)),
            blob((-0.07, -0.064), (-0.01, -0.082), (0.03, -0.075), (-0.02, -0.055)),
        ),
        flat(WHITE, ellipse(0.045, -0.03, 0.032, 0.032)),
        flat(
            INK, ellipse(0.052, -0.028, 0.019, 0.021), *tube([(0.05, 0.045), (0.09, 0.05), (0.12, 0.035)], 0.006, 0.005)
        ),
    ]


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
        (-0.44, -0.15), (-0.40, -0.30), (-0.26, -high + 0.06), (-0.02, -high), (0.22, -high + 0.08),
        (0.35, -0.30), (0.38, -0.15), (0.0, -0.11),
    )  # fmt: skip
    edge = [
        np.concatenate(
            [
                curve([(-0.46, -0.17), (0.0, -0.135), (0.40, -0.17)], closed=False),
                curve([(0.39, -0.11), (0.0, -0.075), (-0.45, -0.11)], closed=False),
            ]
        )
    ]
    neck = tube([(0.30, -0.22), (0.42, -0.29)], 0.075, 0.06)
    return [
        rounded(coat, *far, tone=0.62),
        rounded(coat, *tube([(-0.40, -0.14), (-0.50, -0.10)], 0.04, 0.012), tone=0.8),
        rounded(coat, *neck, tone=0.8),
        rounded(coat, *near, tone=0.85),
        rounded(coat, dome),
        rounded(coat, *edge, tone=0.75, relief=0.5),
        *moved(_turtle_head(), 0.465 + reach, -0.33 + rng.uniform(-0.05, 0.03)),
    ]
