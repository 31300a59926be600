"""Every bad input through the reader or stage that meets it: one clear error or the right answer; nothing hangs, dies, is executed, or is left."""

from __future__ import annotations

import pytest

from . import corpus
from .attempt import judge_all

BLOCK = 25
BLOCKS = {
    f"{kind.replace(' ', '_')}-{first // BLOCK}": cases[first : first + BLOCK]
    for kind, cases in corpus.by_kind().items()
    for first in range(0, len(cases), BLOCK)
}


@pytest.mark.parametrize("block", BLOCKS)
def test_bad_inputs(block, tmp_path):
    assert judge_all(BLOCKS[block], tmp_path) == []


def test_no_input_is_left_out():
    assert sum(map(len, BLOCKS.values())) == len(corpus.CASES)
