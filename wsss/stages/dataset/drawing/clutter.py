"""Clutter between the classes' objects: geometry in unit coordinates (see `objects`)."""

from __future__ import annotations

import numpy as np

from wsss.stages.dataset.drawing.shapes import Layer, blob, box, ellipse, polygon, rounded, tube
from wsss.stages.dataset.drawing.textures import Coat
from wsss.stages.dataset.drawing.vehicles import GLASS, wheel


def _boulder(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    bumps = rng.uniform(0.75, 1.1, 9)
    return [
        rounded(
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
    return [rounded(coat, ellipse(x, -0.16 - h, 0.2, 0.2), tone=float(rng.uniform(0.75, 1.05))) for x, h in puffs]


def _log(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    half = rng.uniform(0.25, 0.45)
    ends = [
        rounded(coat, ellipse(half + 0.02, -0.15, r, 2 * r), tone=t, relief=0.2)
        for r, t in ((0.073, 1.25), (0.035, 0.9))
    ]
    return [rounded(coat, *tube([(-half, -0.15), (half, -0.15)], 0.15, 0.15)), *ends]


def _crate(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    high = rng.uniform(0.45, 0.7)
    slats = [box(-0.37, -high, 0.37, 0.1 - high, round_by=0.02), box(-0.37, -0.1, 0.37, 0.0, round_by=0.02)]
    return [
        rounded(coat, box(-0.35, -high, 0.35, 0.0, round_by=0.03), relief=0.5),
        rounded(coat, *slats, tone=0.75, relief=0.4),
    ]


def _table(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """A top on four legs."""
    leg = rng.uniform(0.3, 0.45)
    legs = [
        [shape for x in xs for shape in tube([(x, -leg), (x * 1.08, -0.03)], 0.035, 0.028)]
        for xs in ((-0.24, 0.32), (-0.34, 0.22))
    ]
    top = rounded(coat, box(-0.46, -leg - 0.09, 0.46, -leg + 0.01, round_by=0.03), relief=0.5)
    return [rounded(coat, *legs[0], tone=0.6), rounded(coat, *legs[1], tone=0.85), top]


def _cart(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """A box on wheels, as a car or coach without its front."""
    high, r = rng.uniform(0.32, 0.5), rng.uniform(0.07, 0.12)
    return [rounded(coat, box(-0.45, -high, 0.45, -r, round_by=0.05)), *wheel(-0.27, r), *wheel(0.27, r)]


def _hut(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Walls and windows, as a coach without wheels and nose."""
    high = rng.uniform(0.35, 0.5)
    panes = [box(x, -high + 0.08, x + 0.13, -high + 0.22, round_by=0.015) for x in (-0.34, -0.14, 0.06, 0.22)]
    roof = rounded(
        coat, polygon((-0.5, -high), (-0.36, -high - 0.16), (0.36, -high - 0.16), (0.5, -high)), tone=0.65, relief=0.4
    )
    return [
        rounded(coat, box(-0.43, -high - 0.02, 0.43, 0.0, round_by=0.02), relief=0.7),
        roof,
        rounded(GLASS, *panes, relief=0.3),
    ]


CLUTTER = (_boulder, _bush, _log, _crate, _table, _cart, _hut)


def clutter(rng: np.random.Generator, coat: Coat) -> list[Layer]:
    """Part of the background, in the coats of the classes' bodies, with legs, wheels, windows and domes like theirs."""
    return CLUTTER[int(rng.integers(len(CLUTTER)))](rng, coat)
