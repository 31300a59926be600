"""Whether the tests notice faults: `make mutants`.

Each entry of benchmarks/mutants*.toml names a piece of source and what replaces it.
The script copies the files that git tracks, applies one entry at a time to the copy, and runs the entry's tests there.
An entry is killed if they fail.

Keys of an entry:
    module: The file, from the repository's root.
    find: A piece of source that occurs exactly once; or with `nth`, the piece's nth occurrence, from 1.
    replace: What stands there instead.
    why: The fault, in a line.
    tests: The test files to run, or tests in them (FILE::TEST).
    equivalent: Why no test can notice it, if so; the entry is not run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEAST = 95
"""Per cent of the entries that must be killed; equivalent ones do not count."""
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", "--timeout=300")
"""Of pytest. A test that takes longer than the timeout has noticed. Other plugins would cost a second each time."""
SLOW = "torch,torchvision,timm,cv2,h5py,hdf5plugin,hypothesis,pandas"
"""Modules that are imported once for all entries."""
FAILED = {1, 2}
"""pytest's exit codes for failed tests, and for test files that cannot be imported."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """An entry."""

    module: str
    find: str
    replace: str
    why: str
    tests: tuple[str, ...]
    nth: int = 0
    equivalent: str = ""

    def applied(self, source: str) -> str | None:
        """The module's source with the entry's fault, or None if the entry does not fit it any more."""
        found = source.count(self.find)
        if self.find == self.replace or (found < self.nth if self.nth else found != 1):
            return None
        parts = source.split(self.find)
        at = max(1, self.nth)
        return self.find.join(parts[:at]) + self.replace + self.find.join(parts[at:])

    def stale(self, root: Path) -> bool:
        """Whether module, tests or the piece of source are not there."""
        paths = [root / self.module, *(root / test.split("::")[0] for test in self.tests)]
        return not all(path.is_file() for path in paths) or self.applied(paths[0].read_text()) is None


def read_list(root: Path, *, parts: Sequence[str] = ("",)) -> list[Mutant]:
    """The entries of benchmarks/mutants*.toml whose module's path has one of `parts` in it.

    Raises:
        ValueError: If an entry has unknown keys, or lacks one.
    """
    found = []
    for path in sorted((root / "benchmarks").glob("mutants*.toml")):
        for k, entry in enumerate(tomllib.loads(path.read_text())["mutant"], 1):
            try:
                found.append(Mutant(**{**entry, "tests": tuple(entry["tests"])}))
            except (KeyError, TypeError) as error:
                raise ValueError(f"{path}: entry {k}: {error}") from None
    return [m for m in found if any(part in m.module for part in parts)]


def copy_tracked(root: Path, folder: Path) -> None:
    """Copy the files that git tracks, as they are on disk."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)


def start_tests(folder: Path, tests: Sequence[str]) -> int:
    """Run pytest in a copy, in a fork of this process, which has imported what is slow to import; gives the fork's id.

    What it says goes to the copy's `said` file. No byte code is kept: its age would not show an entry.
    """
    sys.stdout.flush()
    if child := os.fork():
        return child
    code = 3
    try:
        with (folder / "said").open("w") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        os.chdir(folder)
        os.environ |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(folder))
        code = int(pytest.main([*OPTIONS, *tests]))
    finally:
        sys.stdout.flush()
        os._exit(code)


def verdicts(mutants: Sequence[Mutant], folders: Sequence[Path]) -> Iterator[tuple[Mutant, str, float]]:
    """Entry, verdict and seconds, as they come. Verdicts are killed, LIVES, stale, equivalent, or what pytest said."""
    free, running = list(folders), {}
    for mutant in [*mutants, None]:
        while running and (not free or mutant is None):
            child, status = os.wait()
            done, folder, before, began = running.pop(child)
            (folder / done.module).write_text(before)
            free.append(folder)
            yield done, _verdict(os.waitstatus_to_exitcode(status), folder), time.monotonic() - began
        if mutant is None:
            return
        folder = free[-1]
        if mutant.stale(folder) or mutant.equivalent:
            yield mutant, "stale" if mutant.stale(folder) else "equivalent", 0.0
            continue
        before = (folder / mutant.module).read_text()
        (folder / mutant.module).write_text(mutant.applied(before) or before)
        running[start_tests(folder, mutant.tests)] = (mutant, free.pop(), before, time.monotonic())


def _verdict(code: int, folder: Path) -> str:
    if code == 0:
        return "LIVES"
    return "killed" if code in FAILED or code < 0 else f"pytest {code}: {(folder / 'said').read_text().strip()[-300:]}"


def check_unchanged(mutants: Sequence[Mutant], folder: Path) -> None:
    """Stop if the tests fail as they are: every entry would seem killed.

    Raises:
        RuntimeError: If so.
    """
    tests = sorted({test for m in mutants if not m.equivalent for test in m.tests if not m.stale(folder)})
    if tests and os.waitpid(start_tests(folder, tests), 0)[1]:
        raise RuntimeError(f"without any fault the tests fail:\n{(folder / 'said').read_text()[-3000:]}")


def preload(names: str) -> None:
    """Import what is slow to import, but never this package: each fork imports its own copy of it."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name in filter(None, names.split(",")):
        with suppress(ImportError):
            importlib.import_module(name)
    assert "wsss" not in sys.modules


def summary(results: Sequence[tuple[Mutant, str]]) -> tuple[list[str], bool]:
    """A line a module, and last the rate; and whether all is well."""
    lines = []
    for module in [*sorted({m.module for m, _ in results}), ""]:
        own = [found for m, found in results if m.module == module or not module]
        killed, equivalent = own.count("killed"), own.count("equivalent")
        of = len(own) - equivalent
        rate = f"{killed} of {of} ({100 * killed / max(1, of):.1f} %), {equivalent} equivalent"
        lines.append(f"{module}: {rate}" if module else f"killed {rate}")
    return lines, 100 * killed >= LEAST * of and all(found in ("killed", "LIVES", "equivalent") for _, found in results)


def main() -> int:
    """Run the entries; 0 if enough are killed and none is stale."""
    parser = argparse.ArgumentParser(description="Whether the tests notice faults (benchmarks/mutants*.toml).")
    parts = "only modules whose path has PART in it; may be repeated"
    parser.add_argument("--module", action="append", metavar="PART", help=parts)
    parser.add_argument("--jobs", type=int, default=1, help="entries at a time (1)")
    parser.add_argument("--check", action="store_true", help="only say which entries are stale; run no tests")
    parser.add_argument("--preload", default=SLOW, metavar="NAMES", help="modules imported once for all entries")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    given = parser.parse_args()
    mutants = read_list(given.root, parts=given.module or [""])
    if given.check:
        stale = [m for m in mutants if m.stale(given.root)]
        for m in stale:
            print(f"stale       {m.module}: {m.find!r} ({m.why})")
        return bool(stale)
    preload(given.preload)
    results = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        folders = [Path(temporary) / str(k) for k in range(max(1, given.jobs))]
        for folder in folders:
            copy_tracked(given.root, folder)
        check_unchanged(mutants, folders[0])
        for mutant, found, seconds in verdicts(mutants, folders):
            results.append((mutant, found))
            change = f"{mutant.module}: {mutant.find!r} -> {mutant.replace!r}"
            print(f"{found:11} {change} ({mutant.why}; {seconds:.0f} s)", flush=True)
    lines, well = summary(results)
    print(*lines, sep="\n")
    return not well


if __name__ == "__main__":
    sys.exit(main())
