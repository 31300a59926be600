"""`python -m tests.hostile.table`: every bad input once more, counted by kind, as the table of docs/SECURITY.md."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from .attempt import Outcome, judge
from .corpus import CASES

HEAD = "| kind | inputs | refused | read rightly | faults | most memory, MB | longest, s |\n|---|---|---|---|---|---|---|"


def main() -> None:
    """Try all, print the table, and name what went wrong."""
    found: dict[str, list[tuple[str, Outcome]]] = {}
    wrong = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            fault, outcome = judge(case, Path(folder))
        found.setdefault(case.kind, []).append((fault, outcome))
        if fault:
            wrong.append(f"{case.kind}: {case.name}: {fault}")
    print(HEAD)
    for kind, tried in found.items():
        print(line(kind, tried))
    print(line("all", [entry for tried in found.values() for entry in tried]))
    print("\n".join(wrong))


def line(kind: str, tried: list[tuple[str, Outcome]]) -> str:
    """One row."""
    ends = Counter(outcome.kind for fault, outcome in tried if not fault)
    memory, seconds = max(o.memory_mb for _, o in tried), max(o.seconds for _, o in tried)
    return f"| {kind} | {len(tried)} | {ends['refused']} | {ends['read']} | {sum(bool(f) for f, _ in tried)} | {memory} | {seconds:.1f} |"


if __name__ == "__main__":
    main()
