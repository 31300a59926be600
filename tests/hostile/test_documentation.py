"""docs/SECURITY.md says what is so: how many inputs of each kind, and every limit."""

from __future__ import annotations

import re

from tests.conftest import ROOT
from wsss.files import limits

from .attempt import Case
from .corpus import CASES, by_kind

PAGE = (ROOT / "docs" / "SECURITY.md").read_text()


def test_the_table_counts_every_input():
    found = {
        kind: tuple(map(int, numbers.split(" | ")))
        for kind, numbers in re.findall(r"^\| ([\w. ]+) \| (\d+(?: \| \d+){4}) \|$", PAGE, re.M)
    }
    assert found == {kind: counted(cases) for kind, cases in {**by_kind(), "all": CASES}.items()}
    assert len(CASES) >= 200
    assert len({(case.kind, case.name) for case in CASES}) == len(CASES)


def counted(cases: list[Case]) -> tuple[int, ...]:
    """Inputs, those that must be refused, that must be read, that may be either, and that may end otherwise."""
    return len(cases), *(sum(case.legal is legal for case in cases) for legal in (False, True, None)), 0


def test_every_limit_is_named():
    names = [name for name in vars(limits) if name.startswith("MOST_")]
    assert len(names) > 20
    assert [name for name in names if f"`{name}`" not in PAGE] == []
