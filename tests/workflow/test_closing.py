"""What the workflow prints at its end."""

from __future__ import annotations

import os
import time
from pathlib import Path

from wsss.workflow.closing import MOST_MESSAGES, closing_message, log_messages


def write(log: Path, *lines: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"12:00:0{k} {line}\n" for k, line in enumerate(lines)))


def test_errors_or_warnings_and_products(tmp_path):
    base = tmp_path / "toy"
    write(base / "logs/old/a.log", "WARNING long ago")
    os.utime(base / "logs/old/a.log", (1, 1))
    began = time.time() - 5
    assert closing_message(base, since=began, failed=False) == ""
    write(base / "logs/make_seeds/cam.log", "INFO make_seeds: begun", "WARNING no class but dog", "INFO done")
    write(
        base / "logs/train/x.log",
        "WARNING diverged",
        "ERROR first",
        "INFO again",
        "ERROR train: stopped after 3.0 s: two faults\n  line 2: a\n  line 3: b",
        "INFO end",
    )
    (base / "report").mkdir()
    (base / "report/index.html").touch()
    assert [text for text, _ in log_messages(base / "logs", since=began, level="WARNING")] == [
        "no class but dog",
        "diverged",
    ]
    assert closing_message(base, since=began, failed=False).splitlines() == [
        f"2 warnings in {base}/logs:",
        "  no class but dog",
        f"    {base}/logs/make_seeds/cam.log",
        "  diverged",
        f"    {base}/logs/train/x.log",
        f"report: {base}/report/index.html",
    ]
    assert closing_message(base, since=began, failed=True).splitlines() == [
        f"{base} is not finished. What went wrong:",
        "  train: stopped after 3.0 s: two faults",
        "    line 2: a",
        "    line 3: b",
        f"    {base}/logs/train/x.log",
    ]


def test_many_warnings_are_counted_and_a_missing_cause_is_said(tmp_path):
    write(tmp_path / "logs/x/a.log", *["WARNING w"] * 9)
    write(tmp_path / "logs/x/b.log", *["WARNING w"] * 9)
    lines = closing_message(tmp_path, since=0, failed=False).splitlines()
    assert lines[0].startswith("18 warnings in ")
    assert len(lines) == 2 + 2 * MOST_MESSAGES
    assert lines[-1] == f"  and {18 - MOST_MESSAGES} more, in {tmp_path}/logs"
    assert "No stage says why" in closing_message(tmp_path, since=0, failed=True)
