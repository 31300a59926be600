"""Limits refuse with a message, and docs/SECURITY.md lists all of them.

`python -m tests.files.test_limits` writes the table from the values and docstrings in wsss/files/limits.py.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator

import pytest

from wsss.files import limits
from wsss.files.limits import MOST_DEPTH, MOST_ID_BYTES, check_plain, id_fault, regular

from ..conftest import ROOT

PAGE = ROOT / "docs" / "SECURITY.md"
START, END = "<!-- limits: python -m tests.files.test_limits -->\n", "<!-- end of limits -->\n"
UNITS = {30: "GB", 20: "MB", 10: "kB"}


def documented() -> Iterator[tuple[str, str]]:
    """(name, docstring) of every constant of the module that has a docstring."""
    body = ast.parse((ROOT / "wsss" / "files" / "limits.py").read_text()).body
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            assert isinstance(following, ast.Expr), f"{name} has no docstring"
            assert isinstance(following.value, ast.Constant)
            yield name, " ".join(following.value.value.split())


def shown(name: str) -> str:
    """The value of a limit, bytes with the largest unit that fits."""
    value = getattr(limits, name)
    power = next((p for p in UNITS if name.endswith("_BYTES") and value >= 1 << p), 0)
    return f"{value >> power} {UNITS[power]}" if power else f"{value:,.0f}"


def table() -> str:
    """The table of docs/SECURITY.md."""
    rows = [f"| `{name}` | {shown(name)} | {text} |" for name, text in documented() if name.startswith("MOST_")]
    return "\n".join(["| name | at most | of what, and why this number |", "|---|---|---|", *rows, ""])


def test_the_page_has_every_limit():
    assert PAGE.read_text().partition(START)[2].partition(END)[0] == table(), f"run {START[12:-5]}"
    assert table().count("\n") > 20


def test_ordinary_files_alone_are_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(10))
    regular(path, most=10)
    with pytest.raises(ValueError, match="it has 10 bytes, at most 9 are read"):
        regular(path, most=9)
    with pytest.raises(ValueError, match="a folder, a pipe or a device"):
        regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        regular(tmp_path / "b")


def nested(depth: int) -> list:
    out: list = []
    for _ in range(depth):
        out = [out]
    return out


def in_itself() -> list:
    out: list = []
    out.append(out)
    return out


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"a": {1: "x"}}, "a: key 1 is no text; put it in quotes"),
        ({"a": [1, {2, 3}]}, r"a\[1\]: found '{2, 3}' \(set\), expected a text"),
        ({"a": 1 << 65}, "a: a number of more than 64 bits"),
        (nested(MOST_DEPTH + 1), f"more than {MOST_DEPTH} lists and mappings in each other"),
        (in_itself(), f"more than {MOST_DEPTH} lists and mappings in each other"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value, fault):
    with pytest.raises(ValueError, match=fault):
        check_plain(value)


def test_plain_values_are_taken():
    check_plain({"a": [1, 2.5, None, True, "x", {"b": nested(MOST_DEPTH - 3)}]})


@pytest.mark.parametrize("image_id", ["", ".", "..", "a/b", "a\nb", "a\ud800", "x" * (MOST_ID_BYTES + 1)])
def test_ids_that_cannot_name_a_file(image_id):
    if "\ud800" in image_id or len(image_id) < MOST_ID_BYTES:
        assert re.match("image id .* (cannot name a file|holds a control character)", id_fault(image_id))
    else:
        assert "at most 200 fit into a file name" in id_fault(image_id)


def test_ids_that_can():
    assert [id_fault(i) for i in ("a", "é b.c", "x" * MOST_ID_BYTES, "...")] == [""] * 4


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text(before + START + table() + END + rest.partition(END)[2])
