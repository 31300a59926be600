"""The workflow's own process: one a run, and its last words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsss.workflow.run_lock import MOST_SAID, closing, hold_run, said_in_logs

HOLD = "import sys; from wsss.workflow.run_lock import hold_run; print(hold_run('toy'), flush=True); sys.stdin.read()"


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the run toy."""
    (folder / ".snakemake").mkdir(exist_ok=True)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_one_process_at_a_time_makes_a_run(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    other = holder(tmp_path)
    with pytest.raises(
        ValueError,
        match=rf"another snakemake makes the run toy: process {other.pid} on .+, since \d{{4}}-.+; wait until it has ended, or stop it",
    ):
        hold_run("toy")
    assert hold_run("another") == ""
    other.send_signal(number)
    other.wait()
    assert hold_run("toy") == ""


def test_the_jobs_of_a_head_do_not_hold_its_run(tmp_path, monkeypatch):
    """They may live on for a moment when it is killed."""
    monkeypatch.chdir(tmp_path)
    code = "import subprocess; from wsss.workflow.run_lock import hold_run; hold_run('toy'); print(subprocess.Popen(['sleep', '30']).pid)"
    (tmp_path / ".snakemake").mkdir()
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    job = int(process.stdout.readline())
    try:
        process.wait()
        assert hold_run("toy") == ""
    finally:
        os.kill(job, signal.SIGKILL)


def write(log: Path, *lines: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"12:00:0{k} {line}\n" for k, line in enumerate(lines)))


def test_last_words(tmp_path):
    base = tmp_path / "toy"
    write(base / "logs/old/a.log", "WARNING long ago")
    os.utime(base / "logs/old/a.log", (1, 1))
    began = time.time() - 5
    assert closing(base, since=began, failed=False) == ""
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
    assert [text for text, _ in said_in_logs(base / "logs", since=began, level="WARNING")] == [
        "no class but dog",
        "diverged",
    ]
    assert closing(base, since=began, failed=False).splitlines() == [
        f"2 warnings in {base}/logs:", "  no class but dog", f"    {base}/logs/make_seeds/cam.log", "  diverged", f"    {base}/logs/train/x.log",
        f"report: {base}/report/index.html",
    ]  # fmt: skip
    assert closing(base, since=began, failed=True).splitlines() == [
        f"{base} is not finished. What went wrong:", "  train: stopped after 3.0 s: two faults", "    line 2: a", "    line 3: b",
        f"    {base}/logs/train/x.log"
    ]  # fmt: skip


def test_many_warnings_are_counted_and_no_cause_is_said(tmp_path):
    write(tmp_path / "logs/x/a.log", *["WARNING w"] * 9)
    write(tmp_path / "logs/x/b.log", *["WARNING w"] * 9)
    said = closing(tmp_path, since=0, failed=False).splitlines()
    assert said[0].startswith("18 warnings in ")
    assert len(said) == 2 + 2 * MOST_SAID
    assert said[-1] == f"  and {18 - MOST_SAID} more, in {tmp_path}/logs"
    assert "No stage says why" in closing(tmp_path, since=0, failed=True)
