"""What the workflow prints at its end: errors or warnings from the logs, and where the products are (no torch)."""

from __future__ import annotations

import re
from pathlib import Path

ENTRY = re.compile(r"^\d\d:\d\d:\d\d (ERROR|WARNING) (.*(?:\n(?!\d\d:\d\d:\d\d ).+)*)", re.M)
"""A log's entry of one or several lines."""
MOST_MESSAGES = 12
"""Warnings or errors that are printed; the others are counted."""
PRODUCTS = (
    ("report", "report/index.html"),
    ("masks", "*/masks"),
    ("instances", "*/instances/instances.json"),
)
"""What a user looks for, with its path in the run's folder."""


def closing_message(base: Path, *, since: float, failed: bool) -> str:
    """The workflow's last message. After a failure: the error of each stage with its log; else warnings and products.

    Args:
        base: results/RUN.
        since: When the workflow began, seconds since the epoch.
        failed: Whether a job failed.
    """
    messages = log_messages(base / "logs", since=since, level="ERROR" if failed else "WARNING")
    lines = ["  " + text.replace("\n", "\n  ") + f"\n    {log}" for text, log in messages[:MOST_MESSAGES]]
    if len(messages) > MOST_MESSAGES:
        lines.append(f"  and {len(messages) - MOST_MESSAGES} more, in {base / 'logs'}")
    if failed:
        no_error = "No stage says why: look above for what Snakemake or the cluster says."
        return "\n".join([f"{base} is not finished. {'What went wrong:' if messages else no_error}", *lines])
    if messages:
        lines.insert(0, f"{len(messages)} warning{'s' * (len(messages) != 1)} in {base / 'logs'}:")
    return "\n".join([*lines, *(f"{what}: {path}" for what, place in PRODUCTS for path in sorted(base.glob(place)))])


def log_messages(logs: Path, *, since: float, level: str) -> list[tuple[str, Path]]:
    """Messages in the logs that were written since a time, oldest log first.

    Args:
        logs: The run's folder of logs.
        since: Seconds since the epoch.
        level: ERROR for the last error of each log, WARNING for all warnings.

    Returns:
        (message, log) pairs.
    """
    written = sorted((log.stat().st_mtime, log) for log in logs.rglob("*.log"))
    found = []
    for when, log in written:
        if when >= since:
            entries = ENTRY.findall(log.read_text(encoding="utf-8", errors="replace"))
            texts = [text for kind, text in entries if kind == level]
            found += [(text, log) for text in (texts[-1:] if level == "ERROR" else texts)]
    return found
