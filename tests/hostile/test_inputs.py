"""Every bad input through the reader or stage that meets it: one clear error or the right answer; nothing hangs, dies, is executed, or is left."""

from __future__ import annotations

import pytest

from . import corpus
from .attempt import judge


@pytest.mark.parametrize("case", corpus.CASES, ids=[f"{c.kind.replace(' ', '_')}: {c.name}" for c in corpus.CASES])
def test_bad_input(case, tmp_path):
    assert judge(case, tmp_path)[0] == ""
