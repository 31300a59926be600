"""One image followed through the stages, as the page shows it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from wsss.files.overlay import mask_overlay, shrink
from wsss.stages.report.images import data_uri, image_miou


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """One image of the page.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        caption: What it is.
        detail: A second line.
        note: Its mIoU in percent, "" if it has none.
    """

    image: np.ndarray
    caption: str
    detail: str = ""
    note: str = ""

    @cached_property
    def uri(self) -> str:
        """The image as an inlined JPEG, made when the page asks for it."""
        return data_uri(self.image)


@dataclass(frozen=True, kw_only=True)
class Round:
    """A round of the seeds: title and figures."""

    title: str
    figures: Sequence[Figure]


@dataclass(frozen=True, kw_only=True)
class Trail:
    """One image through all stages.

    Attributes:
        image_id: The image.
        rank: best, typical or worst; "" if images are not ranked.
        class_ids: Its image-level labels.
        photo: The photograph.
        truth: Its truth mask, if it has one.
        rounds: What each round saw and found.
        masks: What follows the rounds.
    """

    image_id: str
    rank: str
    class_ids: list[int]
    photo: Figure
    truth: Figure | None
    rounds: list[Round] = field(default_factory=list)
    masks: list[Figure] = field(default_factory=list)


def photo_figure(image_u8: np.ndarray, *, side: int, caption: str = "photo") -> Figure:
    """The image with its longest side at most `side` px."""
    return Figure(image=shrink(image_u8, side=side), caption=caption)


def mask_figure(
    image_u8: np.ndarray,
    mask: np.ndarray,
    *,
    side: int,
    caption: str,
    detail: str = "",
    truth: np.ndarray | None = None,
) -> Figure:
    """A mask over its image.

    Args:
        image_u8: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8: 0 background, 1..C class, 255 unlabelled.
        side: Longest side of the figure, px.
        caption: What it is.
        detail: A second line.
        truth: (H, W) uint8. The note is the mask's mIoU against it; without truth there is no note.
    """
    note = "" if truth is None else f"{100 * image_miou(mask, truth):.0f}"
    return Figure(image=mask_overlay(image_u8, mask, side=side), caption=caption, detail=detail, note=note)
