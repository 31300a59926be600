"""Stages end when the workflow's process (Snakemake's) that started them has ended (no torch)."""

from __future__ import annotations

import os
import platform
import signal
import threading
import time

from wsss.runtime.liveness import process_start

WORKFLOW = "WSSS_WORKFLOW"
"""Environment variable that names the workflow's process to the stages that it starts."""
LOOK_EVERY = 0.5
"""Seconds between two looks whether that process is still running."""


def announce_workflow() -> None:
    """Name this process to the stages that it will start."""
    if machine := _machine():
        os.environ[WORKFLOW] = " ".join((*machine, str(os.getpid()), process_start(os.getpid())))


def in_workflow() -> bool:
    """Whether a workflow started this process."""
    return bool(os.environ.get(WORKFLOW))


def follow_workflow() -> None:
    """Send this process SIGTERM when the workflow's process that started it has ended.

    Without it nobody waits for the product, and a new run would work on the same file.
    Nothing is followed if no workflow started this process, or one on another machine did.
    """
    words = os.environ.get(WORKFLOW, "").split()
    if len(words) == 4 and tuple(words[:2]) == _machine():
        threading.Thread(target=_follow, args=(int(words[2]), words[3]), daemon=True).start()


def _follow(pid: int, start: str) -> None:
    while process_start(pid) == start:
        time.sleep(LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


def _machine() -> tuple[str, ...]:
    """This machine and the container on it: process numbers are valid there only. Empty if the system does not say."""
    try:
        return platform.node(), os.readlink("/proc/self/ns/pid")
    except OSError:
        return ()
