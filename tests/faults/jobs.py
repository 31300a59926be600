"""The stages that run at a moment: processes below a Snakemake process, found in /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wsss.runtime.liveness import process_start
from wsss.workflow.stages import STAGES

PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A process that runs a stage; paths as in its command line."""

    pid: int
    stage: str
    output: str
    log: str


def children(pid: int) -> list[int]:
    """Processes that a process started, in any of its threads."""
    found: list[int] = []
    try:
        for thread in (PROC / str(pid) / "task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    except OSError:  # it has ended meanwhile
        pass
    return found


def command_line(pid: int) -> str:
    """Its words, each with a zero behind it; none once it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode()
    except OSError:
        return ""


def job_of(pid: int) -> Job | None:
    """The stage that a process runs; None if it runs none."""
    words = command_line(pid).split("\0")
    if len(words) < 3 or not words[1].endswith("/wsss") or words[2] not in STAGES:
        return None
    return Job(pid=pid, stage=words[2], output=words[words.index("--output") + 1], log=words[words.index("--log") + 1])


def jobs_below(pid: int) -> list[Job]:
    """The stages that run below a process; the processes that they start in their turn are none."""
    found = []
    for child in children(pid):
        job = job_of(child)
        found += [job] if job else jobs_below(child)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs."""
    return bool(process_start(pid))


def processor_seconds(pid: int) -> float:
    """What a process has used of the processor; 0 once it is gone."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def at_work_in(folder: Path) -> list[int]:
    """Processes whose working directory is a folder."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                there = Path(os.readlink(entry / "cwd"))
            except OSError:
                continue
            if there == folder and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def wait_for(what: Callable[[], object], *, seconds: float = 120, every: float = 0.005) -> None:
    """Until `what()` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(every)
