"""Only one workflow process makes a run at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wsss.workflow.run_lock import hold_run

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
        match=rf"another snakemake makes the run toy: process {other.pid} on .+, since \d{{4}}-.+; wait until it has",
    ):
        hold_run("toy")
    assert hold_run("another") == ""
    other.send_signal(number)
    other.wait()
    assert hold_run("toy") == ""


def test_jobs_of_a_killed_workflow_do_not_hold_its_run(tmp_path, monkeypatch):
    """They may live on for a moment when it is killed."""
    monkeypatch.chdir(tmp_path)
    code = (
        "import subprocess; from wsss.workflow.run_lock import hold_run; hold_run('toy'); "
        "print(subprocess.Popen(['sleep', '30']).pid)"
    )
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
