"""The contact sheet: a few followed images in one image, for a README. Pure: figures in, an image out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsss.stages.report.trail import Figure, Trail

CELL, GAP, MARGIN, HEADER, FOOTER = 220, 10, 20, 36, 30
"""Width of a column, space between, outer margin, heights of the captions above and below, px."""
TALLEST = 1.1
"""Largest height of a row, as a share of its width; taller images are cut at top and bottom."""
PAPER, INK, SOFT = (255, 255, 255), (26, 29, 33), (98, 107, 119)
HEADING_SIZE, CAPTION_SIZE = 19, 15
"""Font sizes, px."""

Pick = Callable[[Trail], Figure | None]
"""What a column shows of an image."""


def sheet_trails(trails: Sequence[Trail], *, count: int = 3) -> list[Trail]:
    """Choose images for the sheet: the best one, typical ones, then any others; in the gallery's order."""
    best = [t for t in trails if t.rank == "best"][:1]
    typical = [t for t in trails if t.rank == "typical"]
    rest = [t for t in trails if t not in best and t not in typical]
    picked = [*best, *typical, *rest][:count]
    return [t for t in trails if t in picked]


def _of_round(number: int, caption: str) -> Pick:
    def pick(trail: Trail) -> Figure | None:
        figures = trail.rounds[number - 1].figures if len(trail.rounds) >= number else []
        return next((f for f in figures if f.caption == caption), None)

    return pick


def _of_masks(caption: str) -> Pick:
    """The last mask of this name among the followed method's own."""

    def pick(trail: Trail) -> Figure | None:
        own = [f for f in trail.masks if f.caption == caption and not f.detail.startswith("of ")]
        return own[-1] if own else None

    return pick


COLUMNS: tuple[tuple[str, Pick], ...] = (
    ("photo", lambda trail: trail.photo),
    ("scores, round 1", _of_round(1, "scores")),
    ("erased, round 2", _of_round(2, "erased")),
    ("scores, round 2", _of_round(2, "scores")),
    ("seed", _of_masks("seed")),
    ("pseudo mask", _of_masks("pseudo")),
    ("prediction", _of_masks("prediction")),
    ("truth", lambda trail: trail.truth),
)


def contact_sheet(trails: Sequence[Trail], *, class_names: Sequence[str]) -> np.ndarray | None:
    """Draw one row an image; columns that no image has are left out.

    Args:
        trails: Images in the order of the rows.
        class_names: By id, background first.

    Returns:
        (H, W, 3) uint8 RGB; None without images.
    """
    if not trails:
        return None
    columns = [(name, [pick(t) for t in trails]) for name, pick in COLUMNS]
    columns = [(name, figures) for name, figures in columns if any(f is not None for f in figures)]
    heights = [_row_height(t.photo.image) for t in trails]
    width = 2 * MARGIN + len(columns) * (CELL + GAP) - GAP
    paper = Image.new("RGB", (width, 2 * MARGIN + HEADER + sum(h + FOOTER for h in heights)), PAPER)
    pen = ImageDraw.Draw(paper)
    for k, (name, figures) in enumerate(columns):
        x, y = MARGIN + k * (CELL + GAP), MARGIN
        _write(pen, (x, y), name, size=HEADING_SIZE, colour=INK)
        y += HEADER
        for trail, figure, height in zip(trails, figures, heights, strict=True):
            if figure is not None:
                paper.paste(Image.fromarray(_fitted(figure.image, height)), (x, y))
                caption = _caption(trail, figure, class_names)
                _write(pen, (x, y + height + 5), caption, size=CAPTION_SIZE, colour=SOFT)
            y += height + FOOTER
    return np.asarray(paper)


def _row_height(image: np.ndarray) -> int:
    return round(CELL * min(image.shape[0] / image.shape[1], TALLEST))


def _fitted(image: np.ndarray, height: int) -> np.ndarray:
    """The image at the column's width, cut at top and bottom to `height`."""
    size = (CELL, max(height, round(CELL * image.shape[0] / image.shape[1])))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    top = (scaled.shape[0] - height) // 2
    return np.ascontiguousarray(scaled[top : top + height])


def _caption(trail: Trail, figure: Figure, class_names: Sequence[str]) -> str:
    """Below the photograph its rank and labels, below a mask its mIoU."""
    if figure is not trail.photo:
        return f"mIoU {figure.note}" if figure.note else ""
    names = ", ".join(class_names[c] for c in trail.class_ids)
    return f"{trail.rank}: {names}" if trail.rank else names


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, *, size: int, colour: tuple[int, int, int]
) -> None:
    """Write a line of text, shortened to the column's width."""
    font = ImageFont.load_default(size)
    shown = text
    while shown and pen.textlength(shown, font=font) > CELL:
        shown = shown.removesuffix("…")[:-1] + "…" if len(shown) > 1 else ""
    pen.text(at, shown, font=font, fill=colour)
