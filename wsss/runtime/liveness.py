"""Whether a process is still running (no torch)."""

from __future__ import annotations

from pathlib import Path


def process_start(pid: int) -> str:
    """When a process began, in ticks since the machine started. "" if it has ended, also if it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = text.rpartition(")")[2].split()  # the name in parentheses may hold spaces
    return "" if state in "ZX" else fields[18]
