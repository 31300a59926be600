"""Colours, coats and noise of the embedded data set (no torch). Colours are RGB, [0, 255].

Functions take arrays and generators and return new arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (98, 120, 58), (206, 180, 130), (134, 131, 128), (126, 88, 58), (84, 102, 128),
    (226, 218, 200), (170, 98, 62), (70, 68, 72), (146, 164, 122), (124, 106, 132),
)  # fmt: skip
"""Moss, sand, stone, bark, slate; cream, rust, charcoal, sage, dusk. Coats of every class, clutter and grounds share
them."""

PATTERNS = ("plain", "stripes", "spots", "patches", "plates")


@dataclass(frozen=True, kw_only=True)
class Coat:
    """A pattern of two palette colours, drawn alike for all classes and for clutter.

    Attributes:
        pattern: One of PATTERNS.
        first: Main colour.
        second: Colour of the marks.
        frequency: Marks per object width.
        degrees: Direction of the pattern.
        lattice: (64, 64) float32 random values that all its noise is read from.
    """

    pattern: str
    first: Colour
    second: Colour
    frequency: float
    degrees: float
    lattice: np.ndarray

    def colours(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """(h, w, 3) float32 colours at object coordinates u, v, each (h, w) float32 in object widths."""
        angle = np.radians(self.degrees)
        c, s = float(np.cos(angle)) * self.frequency, float(np.sin(angle)) * self.frequency
        p, q = u * c + v * s, v * c - u * s
        match self.pattern:
            case "stripes":
                marks = np.sin(2 * np.pi * p + 2.2 * self._noise(u * 4, v * 4)) * 3
            case "spots":
                marks = (self._noise(p * 1.6, q * 1.6) - 0.22) * 9
            case "patches":
                marks = (self._noise(p * 0.5, q * 0.5) - 0.05) * 9
            case "plates":
                row = np.floor(q * 1.2)
                marks = 2.2 - 16 * np.minimum(np.abs((p + 0.5 * row) % 1 - 0.5), np.abs((q * 1.2) % 1 - 0.5) / 1.2)
            case _:
                marks = np.full_like(u, -9.0)
        share = 1 / (1 + np.exp(np.clip(-2 * marks, -30, 30)))
        grain = 1 + 0.09 * self._noise(u * 40, v * 40) + 0.10 * self._noise(u * 5 + 7, v * 5)
        pairs = zip(self.first, self.second, strict=True)
        return cv2.merge([(a + np.float32(b - a) * share) * grain for a, b in pairs])

    def _noise(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(h, w) float32 smooth noise, about [-1, 1], one lattice cell a unit."""
        return cv2.remap(self.lattice, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def random_coat(rng: np.random.Generator) -> Coat:
    """A coat, from a distribution that knows nothing of classes."""
    first, second = rng.permutation(len(PALETTE))[:2]
    shift = rng.uniform(0.88, 1.12, 2)
    lattice = rng.uniform(-1, 1, (64, 64)).astype(np.float32)
    pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
    return Coat(
        pattern=pattern,
        first=_tinted(PALETTE[first], shift[0]),
        second=_tinted(PALETTE[second], shift[1]),
        frequency=float(rng.uniform(4.5, 8.0)),
        degrees=float(rng.uniform(-35, 35)),
        lattice=lattice,
    )


def _tinted(colour: Colour, factor: float) -> Colour:
    r, g, b = (int(min(255, c * factor)) for c in colour)
    return r, g, b


def noise(
    rng: np.random.Generator, shape: tuple[int, int], *, cells: tuple[float, float], octaves: int = 3
) -> np.ndarray:
    """(h, w) float32 fractal noise with standard deviation near 0.5; `cells` (down, across) of the coarsest octave."""
    h, w = shape
    # Drawn at half the canvas's resolution, which is still finer than the image's.
    coarse = ((h + 1) // 2, (w + 1) // 2)
    out, total = np.zeros(coarse, np.float32), 0.0
    for k in range(octaves):
        rows, columns = (max(2, min(int(n * 2**k) + 1, size)) for n, size in zip(cells, coarse, strict=True))
        octave = rng.standard_normal((rows, columns), np.float32)
        out += cv2.resize(octave, coarse[::-1], interpolation=cv2.INTER_CUBIC) * np.float32(0.5**k)
        total += 0.25**k
    return cv2.resize(out * np.float32(0.7 / np.sqrt(total)), (w, h), interpolation=cv2.INTER_LINEAR)


def shade(colour: Colour, field: np.ndarray) -> np.ndarray:
    """(h, w, 3) float32: a colour times a field."""
    return cv2.merge([field * np.float32(c) for c in colour])


def receding(field: np.ndarray) -> np.ndarray:
    """The field with its rows pressed together towards the top, as ground towards the horizon."""
    h = len(field)
    return field[((h - 1) * np.linspace(0, 1, h) ** 0.6).astype(int)]
