"""A job: one run of a stage for some wildcards (no torch)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Job:
    """The wildcards of one job; each stage has some of them."""

    method: str = ""
    round: int = 1
    variant: str = ""
    cycle: int = 0
    cue: str = ""
    kind: str = ""
    name: str = ""
    split: str = ""
    shard: str = ""
