"""A folder of small drawn photographs and its CSV of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_photographs(folder: Path, *, count: int = 12) -> None:
    """A folder of drawn images with one blob each, and its labels."""
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True)
    lines = ["image,labels"]
    for k in range(count):
        image = draw.integers(60, 120, (64, 72, 3), dtype=np.uint8)
        y, x = draw.integers(8, 36, 2)
        image[y : y + 24, x : x + 24] = ((220, 40, 40), (40, 60, 230))[k % 2]
        Image.fromarray(image).save(folder / f"{k}.jpg", quality=95)
        lines.append(f"{k}.jpg,{('red', 'blue')[k % 2]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
