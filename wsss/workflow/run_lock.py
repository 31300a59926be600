"""The workflow's own process, the head: one at a time makes a run, and at its end it says what matters (no torch)."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import time
from pathlib import Path

from wsss.runtime.text import printable

LINE = re.compile(r"^\d\d:\d\d:\d\d (ERROR|WARNING) (.*(?:\n(?!\d\d:\d\d:\d\d ).+)*)", re.M)
"""A log's entry; faults of a data set are several lines of one."""
MOST_SAID = 12
"""Warnings, or failures, that are said at the end of a run; the others are counted."""
_held: list[int] = []
"""Open lock files of this process: the system lets go of them when it ends, however it ends."""


def hold_run(run: str, *, folder: Path = Path(".snakemake")) -> str:
    """Keep other processes from making the same run, until this one ends.

    Snakemake's own locks are not enough: a run that ends takes away those of all other runs in its folder (9.27, persistence: `_delete_locks`).

    Args:
        run: Its name.
        folder: Where the lock file lies.

    Returns:
        "", or a line that warns of a file system that knows no locks.

    Raises:
        ValueError: If another process makes this run.
    """
    folder.mkdir(exist_ok=True)
    path = folder / f"{run}.head"
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = printable(os.read(file, 200).decode(errors="replace")).strip()
        os.close(file)
        raise ValueError(
            f"another snakemake makes the run {run}: {other}; wait until it has ended, or stop it with Ctrl-C"
        ) from None
    except OSError as error:
        os.close(file)
        return f"warning: {path} cannot be locked ({error.strerror}): make sure that no other snakemake makes the run {run}\n"
    os.ftruncate(file, 0)
    os.write(file, f"process {os.getpid()} on {platform.node()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
    _held.append(file)
    return ""


def said_in_logs(logs: Path, *, since: float, level: str) -> list[tuple[str, Path]]:
    """What stages said in logs written since a time, oldest first: of each log its last error, or all its warnings.

    Args:
        logs: The run's folder of logs.
        since: Seconds since the epoch.
        level: ERROR or WARNING.

    Returns:
        (text, log) pairs.
    """
    written = sorted((log.stat().st_mtime, log) for log in logs.rglob("*.log"))
    found = []
    for when, log in written:
        if when >= since:
            texts = [
                text for kind, text in LINE.findall(log.read_text(encoding="utf-8", errors="replace")) if kind == level
            ]
            found += [(text, log) for text in (texts[-1:] if level == "ERROR" else texts)]
    return found


def closing(base: Path, *, since: float, failed: bool) -> str:
    """The last words of a head: after a failure the error of each stage with its log, else every warning, the report, the masks and the instances.

    Args:
        base: results/RUN.
        since: When the head began, seconds since the epoch.
        failed: Whether a job failed.
    """
    said = said_in_logs(base / "logs", since=since, level="ERROR" if failed else "WARNING")
    lines = ["  " + text.replace("\n", "\n  ") + f"\n    {log}" for text, log in said[:MOST_SAID]]
    if len(said) > MOST_SAID:
        lines.append(f"  and {len(said) - MOST_SAID} more, in {base / 'logs'}")
    if failed:
        why = "What went wrong:" if said else "No stage says why: look above for what Snakemake or the cluster says."
        return "\n".join([f"{base} is not finished. {why}", *lines])
    warned = [f"{len(said)} warning{'s' * (len(said) != 1)} in {base / 'logs'}:", *lines] if said else []
    products = [("report", base / "report" / "index.html")]
    products += [
        (what, path)
        for what, place in (("masks", "*/masks"), ("instances", "*/instances/instances.json"))
        for path in sorted(base.glob(place))
    ]
    return "\n".join([*warned, *(f"{what}: {path}" for what, path in products if path.exists())])
