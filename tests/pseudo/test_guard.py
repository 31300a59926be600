"""When a shard of masks without any class is an error, a warning, or nothing."""

from __future__ import annotations

import numpy as np
import pytest

from wsss.stages.pseudo.guard import BackgroundGuard

EMPTY, UNKNOWN = np.zeros((2, 3), np.uint8), np.full((2, 3), 255, np.uint8)
HELD = np.array([[0, 255, 0], [0, 0, 7]], np.uint8)


def check(*masks: np.ndarray, without_labels: int = 0) -> None:
    guard = BackgroundGuard(stage="a_stage", look_at="a.setting")
    for mask in masks:
        guard.add(mask, [7])
    for _ in range(without_labels):
        guard.add(EMPTY, [])
    guard.check()


@pytest.mark.parametrize("empty", [EMPTY, UNKNOWN])
def test_four_images_without_any_class_are_an_error(empty: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^a_stage: 4 of 4 images .*Check a\.setting"):
        check(*[empty] * 4, without_labels=2)


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ([EMPTY] * 3, "3 of 3 images"),  # too few to be sure
        ([EMPTY] * 4 + [HELD], "4 of 5 images"),
        ([EMPTY] * 3 + [HELD] * 2, "3 of 5 images"),
        ([EMPTY] * 2 + [HELD] * 2, ""),  # exactly half
        ([HELD], ""),
        ([], ""),
    ],
)
def test_more_than_half_is_said(masks: list[np.ndarray], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Images without labels, here nine, change nothing."""
    check(*masks, without_labels=9)
    warned = capsys.readouterr().err
    assert bool(warned) is bool(said)
    assert said in warned
