"""`python -m tests.hostile.table`: every bad input once more, each in a process of its own, counted by kind as in docs/SECURITY.md, with memory and time."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .attempt import Case, Outcome, judge
from .corpus import by_kind

HEAD = (
    "| kind | inputs | refused | read rightly | faults | most memory, MB | longest, s |\n|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Try all, print the table, and name what went wrong."""
    print(HEAD, flush=True)
    everything: list[tuple[Case, str, Outcome]] = []
    for kind, cases in by_kind().items():
        tried = []
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                tried.append((case, *judge(case, Path(folder))))
        print(line(kind, tried), flush=True)
        everything += tried
    print(line("all", everything))
    for case, fault, _ in everything:
        if fault:
            print(f"{case.kind}: {case.name}: {fault}")


def line(kind: str, tried: Sequence[tuple[Case, str, Outcome]]) -> str:
    """One row."""
    ends = Counter(outcome.kind for _, fault, outcome in tried if not fault)
    memory, seconds = max(o.memory_mb for *_, o in tried), max(o.seconds for *_, o in tried)
    return f"| {kind} | {len(tried)} | {ends['refused']} | {ends['read']} | {sum(bool(fault) for _, fault, _ in tried)} | {memory} | {seconds:.1f} |"


if __name__ == "__main__":
    main()
