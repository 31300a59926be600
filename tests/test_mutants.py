"""The list of known faults fits the sources, and its script tells what becomes of each."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.mutants import Mutant, read_list, summary

from .conftest import ROOT

LIST = """
[[mutant]]
module = "wsss/sums.py"
find = "a + b"
replace = "a - b"
why = "sign"
tests = ["tests/test_sums.py"]

[[mutant]]
module = "wsss/sums.py"
find = "2"
nth = 2
replace = "3"
why = "a constant that no test reads"
tests = ["tests/test_sums.py"]

[[mutant]]
module = "wsss/sums.py"
find = "2 * a"
replace = "a + a"
why = "the same"
tests = ["tests/test_sums.py"]
equivalent = "a sum of two is a double"
"""
TEST = """
from wsss.sums import add, double


def test_sums():
    assert (add(1, 2), double(4)) == (3, 8)
"""
STALE = """
[[mutant]]
module = "wsss/sums.py"
find = "return"
replace = "yield"
why = "occurs twice"
tests = ["tests/test_sums.py"]
"""


@pytest.fixture
def repository(tmp_path):
    """A package of one module with a test of half of it; one file that git does not track would fail."""
    files = {
        "wsss/__init__.py": "",
        "wsss/sums.py": "def add(a, b):\n    return a + b\n\n\ndef double(a):\n    return 2 * a\n\n\nTWO = 2\n",
        "tests/test_sums.py": TEST,
        "benchmarks/mutants.toml": LIST,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for arguments in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    (tmp_path / "tests" / "conftest.py").write_text("raise RuntimeError")
    return tmp_path


def run(repository, *options):
    """The script's exit code, its lines, and its errors."""
    command = [sys.executable, ROOT / "benchmarks" / "mutants.py", "--preload", "", "--root", repository, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_no_entry_is_stale():
    """Where a source changes its entries change with it."""
    mutants = read_list(ROOT)
    assert len(mutants) > 100
    assert [f"{m.module}: {m.find}" for m in mutants if m.stale(ROOT)] == []
    assert all("\n" not in m.find and m.why and (m.equivalent or m.tests) for m in mutants)
    faults = [(m.module, m.find, m.nth, m.replace) for m in mutants]
    assert len(set(faults)) == len(faults)


def test_an_entry_is_applied_where_it_says():
    entry = {"module": "m", "replace": "X", "why": "w", "tests": ()}
    assert Mutant(find="b", **entry).applied("abc") == "aXc"
    assert [Mutant(find="b", nth=n, **entry).applied("abcb") for n in (1, 2, 3)] == ["aXcb", "abcX", None]
    assert Mutant(find="b", **entry).applied("abcb") is None
    assert Mutant(find="d", **entry).applied("abc") is None
    assert Mutant(find="X", **entry).applied("aXc") is None  # it would change nothing


def test_what_becomes_of_each_entry(repository):
    """The untracked conftest.py, which would fail, does not get into the copies."""
    code, lines, _ = run(repository, "--jobs", "2")
    assert code == 1  # one of two is killed
    assert sorted(line.split()[0] for line in lines[:3]) == ["LIVES", "equivalent", "killed"]
    assert lines[3:] == ["wsss/sums.py: 1 of 2 (50.0 %), 1 equivalent", "killed 1 of 2 (50.0 %), 1 equivalent"]
    assert (repository / "wsss" / "sums.py").read_text().startswith("def add(a, b):\n    return a + b\n")


def test_entries_that_do_not_fit_are_stale(repository):
    (repository / "benchmarks" / "mutants_more.toml").write_text(STALE)
    assert run(repository, "--check")[:2] == (1, ["stale       wsss/sums.py: 'return' (occurs twice)"])
    assert run(repository, "--check", "--module", "another")[0] == 0
    mutants = read_list(repository)
    assert [m.stale(repository) for m in mutants] == [False, False, False, True]
    (repository / "tests" / "test_sums.py").unlink()
    assert all(m.stale(repository) for m in mutants)


@pytest.mark.parametrize(
    ("found", "well"),
    [
        (["killed"] * 19 + ["LIVES"], True),
        (["killed"] * 18 + ["LIVES", "LIVES"], False),
        (["killed"] * 18 + ["LIVES"] + ["equivalent"] * 9, False),  # equivalent ones do not count
        (["killed"] * 99 + ["stale"], False),
        (["killed"] * 99 + ["pytest 4: no such file"], False),
        (["equivalent"], True),
    ],
)
def test_95_in_100_must_be_killed_and_none_stale(found, well):
    mutant = Mutant(module="m.py", find="a", replace="b", why="w", tests=())
    lines, ok = summary([(mutant, what) for what in found])
    assert ok is well
    counted = len(found) - found.count("equivalent")
    assert lines[-1].startswith(f"killed {found.count('killed')} of {counted} (")


def test_tests_that_fail_without_a_fault_stop_it(repository):
    with (repository / "tests" / "test_sums.py").open("a") as file:
        file.write("    assert False\n")
    code, lines, said = run(repository)
    assert (code, lines) == (1, [])
    assert "without any fault the tests fail" in said


def test_an_entry_of_unknown_keys_is_named(repository):
    (repository / "benchmarks" / "mutants_more.toml").write_text(STALE.replace("why", "reason"))
    with pytest.raises(ValueError, match=r"mutants_more\.toml: entry 1: .*reason"):
        read_list(repository)
