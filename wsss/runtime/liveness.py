"""Whether a process is still there (no torch)."""

from __future__ import annotations

from pathlib import Path


def process_start(pid: int) -> str:
    """When a process began, in ticks since the machine started; "" if it has ended, even if nobody has taken notice of that yet."""
    try:
        state, *fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]
