"""Car and train: geometry in unit coordinates (see `objects`)."""

from __future__ import annotations

import numpy as np

from wsss.stages.dataset.drawing.shapes import INK, WHITE, Layer, blob, box, ellipse, flat, polygon, rounded, tube
from wsss.stages.dataset.drawing.textures import Coat, Colour

GLASS: Colour = (150, 188, 205)
TYRE: Colour = (44, 43, 48)
STEEL: Colour = (168, 170, 176)


def wheel(x: float, r: float) -> list[Layer]:
    """A wheel of radius `r` that stands on the ground at `x`."""
    return [
        rounded(TYRE, ellipse(x, -r, r, r), relief=0.5),
        rounded(STEEL, ellipse(x, -r, r * 0.55, r * 0.55), relief=0.6),
        flat(TYRE, ellipse(x, -r, r * 0.18, r * 0.18)),
    ]


def _car_front() -> list[Layer]:
    """White and blue, with a grille and a round yellow lamp."""
    return [
        rounded(
            WHITE,
            blob((0.335, -0.335), (0.43, -0.32), (0.495, -0.27), (0.51, -0.14), (0.43, -0.11), (0.36, -0.19)),
            relief=0.5,
        ),
        flat((36, 74, 196), polygon((0.37, -0.33), (0.405, -0.325), (0.40, -0.13), (0.375, -0.17))),
        flat(INK, *(box(0.465, y, 0.505, y + 0.014, round_by=0.005) for y in (-0.245, -0.215, -0.185))),
        rounded((255, 214, 70), ellipse(0.437, -0.225, 0.046, 0.05), relief=0.4),
        flat((255, 246, 200), ellipse(0.445, -0.238, 0.02, 0.02)),
        rounded((36, 74, 196), box(0.405, -0.145, 0.53, -0.105, round_by=0.02), relief=0.3),
    ]


def car(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Own part: the white and blue front with grille and round yellow lamp. Weak: cabin, windows, two big wheels."""
    roof, rear, r = rng.uniform(0.50, 0.58), rng.uniform(-0.36, -0.24), rng.uniform(0.095, 0.115)
    shell = blob(
        (-0.49, -0.14), (-0.50, -0.29), (-0.46, -0.34), (0.30, -0.34), (0.46, -0.30), (0.49, -0.22),
        (0.48, -0.12), (0.0, -0.10),
    )  # fmt: skip
    cabin = blob(
        (rear - 0.10, -0.31), (rear, -roof + 0.03), (rear + 0.08, -roof), (0.06, -roof), (0.14, -roof + 0.04),
        (0.29, -0.31),
    )  # fmt: skip
    panes = [
        box(rear + 0.015, -roof + 0.05, -0.09, -0.345, round_by=0.03),
        blob((-0.05, -0.345), (-0.05, -roof + 0.05), (0.06, -roof + 0.05), (0.115, -roof + 0.07), (0.20, -0.345)),
    ]
    door = [
        flat(
            (60, 58, 60),
            *tube([(-0.07, -0.33), (-0.07, -0.13)], 0.004, 0.004),
            *tube([(-0.03, -0.27), (0.01, -0.27)], 0.008, 0.008),
        )
    ]
    return [
        rounded(coat, cabin),
        rounded(GLASS, *panes, relief=0.3),
        rounded(coat, shell),
        *door,
        *_car_front(),
        *wheel(-0.29, r),
        *wheel(0.27, r),
    ]


def _train_nose(y: float) -> list[Layer]:
    """Yellow, with black chevrons and lamps; its roof is at `y`."""
    return [
        rounded(
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
        flat(INK, polygon((0.415, y + 0.03), (0.455, y + 0.045), (0.505, y + 0.125), (0.42, y + 0.125))),
        flat((150, 205, 235), polygon((0.43, y + 0.045), (0.45, y + 0.055), (0.475, y + 0.10), (0.432, y + 0.105))),
        flat(
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
        flat(WHITE, ellipse(0.528, -0.135, 0.02, 0.02)),
        flat((220, 40, 40), ellipse(0.365, y + 0.045, 0.014, 0.014), box(0.50, -0.055, 0.56, -0.03, round_by=0.01)),
    ]


def train(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Own part: the yellow nose with black chevrons and lamps. Weak: long coaches, rows of windows, small wheels."""
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
    wheels = [w for x in (-0.49, -0.41, split - 0.10, split + 0.10, 0.24, 0.33) for w in wheel(float(x), 0.045)]
    under = flat(
        TYRE,
        box(-0.55, -0.075, 0.48, -0.045, round_by=0.01),
        box(split - 0.03, -top + 0.05, split + 0.03, -0.06, round_by=0.005),
    )
    return [
        under,
        *wheels,
        rounded(coat, *roofs, tone=0.7, relief=0.4),
        rounded(coat, *coaches, relief=0.8),
        rounded(GLASS, *panes, relief=0.3),
        *_train_nose(-top),
    ]
