"""A stage ends with the workflow that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from wsss.runtime.liveness import process_start
from wsss.runtime.workflow_process import WORKFLOW, announce_workflow, follow_workflow

from ..conftest import ROOT

pytestmark = pytest.mark.usefixtures("usual_signals")

STAGE = """
import time
from wsss.runtime.workflow_process import follow_workflow
follow_workflow()
print("ready", flush=True)
time.sleep(60)
"""


def workflow(announcement: str) -> str:
    """Code of a process that starts a stage, prints its number, and waits."""
    return f"""
import subprocess, sys, time
from wsss.runtime.workflow_process import announce_workflow
{announcement}
stage = subprocess.Popen([sys.executable, "-c", {STAGE!r}], stdout=subprocess.PIPE)
stage.stdout.readline()
print(stage.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("announcement", "followed"), [("announce_workflow()", True), ("pass", False)])
def test_a_stage_does_not_outlive_the_workflow_that_started_it(announcement, followed):
    parent = subprocess.Popen(
        [sys.executable, "-c", workflow(announcement)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if k != WORKFLOW},
    )
    stage = int(parent.stdout.readline())
    parent.kill()  # not waited for: a zombie has ended, too
    end = time.monotonic() + (10 if followed else 1.5)
    while process_start(stage) and time.monotonic() < end:
        time.sleep(0.02)
    assert bool(process_start(stage)) is not followed
    if not followed:
        os.kill(stage, signal.SIGKILL)
    parent.communicate()


@pytest.mark.parametrize("words", ["", "another-machine pid:[1] 1 1", "-"])
def test_nobody_is_followed_elsewhere(monkeypatch, words):
    monkeypatch.setenv(WORKFLOW, words)
    follow_workflow()
    time.sleep(0.1)  # SIGTERM would end this process


def test_the_announcement_names_this_process(monkeypatch):
    monkeypatch.setenv(WORKFLOW, "")
    announce_workflow()
    assert str(os.getpid()) in os.environ[WORKFLOW].split()
