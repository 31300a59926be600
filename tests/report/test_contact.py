"""The contact sheet."""

from __future__ import annotations

import numpy as np
import pytest

from wsss.stages.report.contact import CELL, FOOTER, GAP, HEADER, MARGIN, contact_sheet, sheet_trails
from wsss.stages.report.trail import Figure, Round, Trail

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def plain(colour, caption, *, size=(60, 100), detail="", note=""):
    return Figure(image=np.full((*size, 3), colour, np.uint8), caption=caption, detail=detail, note=note)


def trail(image_id, rank="", *, size=(60, 100), rounds=2, masks=(), truth=None):
    photos = ["photo", *["erased"] * rounds]
    shown = [
        Round(title="", figures=[plain(RED, photos[r], size=size), plain(GREEN, "scores", size=size)])
        for r in range(rounds)
    ]
    return Trail(
        image_id=image_id,
        rank=rank,
        class_ids=[1],
        photo=plain(RED, "photo", size=size),
        truth=truth,
        rounds=shown,
        masks=list(masks),
    )


def cell(sheet, column, *, y=MARGIN + HEADER + 20):
    return tuple(int(v) for v in sheet[y, MARGIN + column * (CELL + GAP) + CELL // 2])


def width(columns):
    return 2 * MARGIN + columns * (CELL + GAP) - GAP


def test_a_best_one_and_typical_ones_are_picked_in_the_gallerys_order():
    ranks = ["best", "best", "typical", "typical", "typical", "worst"]
    trails = [trail(f"i{k}", rank) for k, rank in enumerate(ranks)]
    assert [t.image_id for t in sheet_trails(trails)] == ["i0", "i2", "i3"]
    assert [t.image_id for t in sheet_trails([trails[0], trails[1], trails[5]])] == ["i0", "i1", "i5"]
    assert [t.image_id for t in sheet_trails([trail("a"), trail("b")])] == ["a", "b"]


def test_columns_hold_the_last_own_mask_of_each_kind():
    masks = [
        plain(RED, "seed"),
        plain(RED, "pseudo", detail="cycle 0"),
        plain(RED, "prediction", detail="psl, cycle 0"),
        plain(GREEN, "pseudo", detail="psl, cycle 1"),
        plain(BLUE, "prediction", detail="psl, cycle 1"),
        plain(RED, "pseudo", detail="of cam"),
    ]
    sheet = contact_sheet([trail("a", masks=masks, truth=plain(BLUE, "truth"))], class_names=["background", "cat"])
    assert sheet.shape == (2 * MARGIN + HEADER + round(0.6 * CELL) + FOOTER, width(8), 3)
    assert [cell(sheet, k) for k in range(8)] == [RED, GREEN, RED, GREEN, RED, GREEN, BLUE, BLUE]


@pytest.mark.parametrize(("rounds", "columns"), [(1, 2), (2, 4), (0, 1)])
def test_columns_that_no_image_has_are_left_out(rounds, columns):
    assert contact_sheet([trail("a", rounds=rounds)], class_names=["background", "cat"]).shape[1] == width(columns)


def test_rows_are_as_high_as_their_images_up_to_a_limit():
    trails = [trail("a", size=(50, 100)), trail("b", size=(300, 100))]
    sheet = contact_sheet(trails, class_names=["background", "x" * 400])
    assert sheet.shape[0] == 2 * MARGIN + HEADER + round(0.5 * CELL) + round(1.1 * CELL) + 2 * FOOTER
    gap = sheet[:, MARGIN + CELL : MARGIN + CELL + GAP]
    assert (gap == 255).all()  # long captions stay in their column


def test_without_images_there_is_no_sheet():
    assert contact_sheet([], class_names=["background"]) is None
