"""docs/SECURITY.md says what is so: how many inputs of each kind, and every limit."""

from __future__ import annotations

import re
from collections import Counter

from tests.conftest import ROOT
from wsss import limits

from .corpus import CASES

PAGE = (ROOT / "docs" / "SECURITY.md").read_text()


def test_the_table_counts_every_input():
    found = {kind: (int(inputs), int(faults)) for kind, inputs, faults in re.findall(r"^\| ([\w. ]+) \| (\d+) \| \d+ \| \d+ \| (\d+) \|", PAGE, re.M)}
    counted = Counter(case.kind for case in CASES)
    assert found == {**{kind: (count, 0) for kind, count in counted.items()}, "all": (len(CASES), 0)}
    assert len(CASES) >= 200
    assert len({(case.kind, case.name) for case in CASES}) == len(CASES)


def test_every_limit_is_named():
    names = [name for name in vars(limits) if name.startswith("MOST_")]
    assert len(names) > 20
    assert [name for name in names if f"`{name}`" not in PAGE] == []
