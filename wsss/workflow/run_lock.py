"""A lock for each run, so that only one workflow process makes it at a time (no torch)."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from pathlib import Path

from wsss.runtime.text import printable

_held: list[int] = []
"""Open lock files of this process. The system releases them when the process ends, however it ends."""


def hold_run(run: str, *, folder: Path = Path(".snakemake")) -> str:
    """Keep other processes from making the same run until this process ends.

    Snakemake's own locks are not enough: a run that ends removes those of all other runs in its folder
    (9.27, persistence: `_delete_locks`).

    Args:
        run: Its name.
        folder: Folder of the lock file.

    Returns:
        "", or a line that warns of a file system without locks.

    Raises:
        ValueError: If another process makes this run.
    """
    folder.mkdir(exist_ok=True)
    path = folder / f"{run}.lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = printable(os.read(file, 200).decode(errors="replace")).strip()
        os.close(file)
        advice = "wait until it has ended, or stop it with Ctrl-C"
        raise ValueError(f"another snakemake makes the run {run}: {other}; {advice}") from None
    except OSError as error:
        os.close(file)
        reason = f"{path} cannot be locked ({error.strerror})"
        return f"warning: {reason}: make sure that no other snakemake makes the run {run}\n"
    os.ftruncate(file, 0)
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    os.write(file, f"process {os.getpid()} on {platform.node()}, since {since}\n".encode())
    _held.append(file)
    return ""
