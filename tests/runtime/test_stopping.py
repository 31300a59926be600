"""Signals and a lost workflow, as a stage notices them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from wsss.runtime.stopping import HEAD, SIGNALS, Stop, announce_head, follow_head, stop_signals, stopping_at_once

from ..conftest import ROOT

pytestmark = pytest.mark.usefixtures("usual_signals")


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_stops_at_once_and_the_next_does_not_disturb_tidying(number):
    tidied = []

    def tidies():
        with stopping_at_once():
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                tidied.append(True)

    with pytest.raises(
        Stop, match=f"^stopped by {signal.Signals(number).name}; nothing half-written is left, start again$"
    ):
        tidies()
    assert tidied
    assert [signal.getsignal(n) for n in SIGNALS] == [
        signal.default_int_handler if n == signal.SIGINT else signal.SIG_DFL for n in SIGNALS
    ]


def test_a_second_ctrl_c_interrupts():
    def insists():
        with stopping_at_once():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        insists()


def test_what_was_ignored_stays_so():
    """nohup, and a script's background jobs."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stopping_at_once():
        os.kill(os.getpid(), signal.SIGHUP)
        with stop_signals() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked() == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_training_within_is_stopped_between_its_steps():
    with stopping_at_once():
        with stop_signals() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked() == signal.SIGHUP
        with pytest.raises(Stop):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_is_no_exception():
    """What takes any OSError or Exception for a damaged file lets it pass."""
    assert not issubclass(Stop, Exception)


STAGE = "import time; from wsss.runtime.stopping import follow_head; follow_head(); print('ready', flush=True); time.sleep(60)"


def workflow(mark: str) -> str:
    """A process that starts a stage, says its number, and waits."""
    return f"import subprocess, sys, time; from wsss.runtime.stopping import announce_head; {mark}; p = subprocess.Popen([sys.executable, '-c', {STAGE!r}], stdout=subprocess.PIPE); p.stdout.readline(); print(p.pid, flush=True); time.sleep(60)"


@pytest.mark.parametrize(("mark", "followed"), [("announce_head()", True), ("pass", False)])
def test_a_stage_does_not_outlive_the_workflow_that_started_it(mark, followed):
    head = subprocess.Popen(
        [sys.executable, "-c", workflow(mark)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if k != HEAD},
    )
    stage = int(head.stdout.readline())
    head.kill()  # not waited for: a zombie has ended, too
    end = time.monotonic() + (10 if followed else 1.5)
    while running(stage) and time.monotonic() < end:
        time.sleep(0.02)
    assert running(stage) is not followed
    if not followed:
        os.kill(stage, signal.SIGKILL)
    head.communicate()


def running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("mark", ["", "another-machine pid:[1] 1 1", "-"])
def test_nobody_is_followed_elsewhere(monkeypatch, mark):
    monkeypatch.setenv(HEAD, mark)
    follow_head()
    time.sleep(0.1)  # SIGTERM would end this process


def test_the_mark_says_who(monkeypatch):
    monkeypatch.setenv(HEAD, "")
    announce_head()
    assert str(os.getpid()) in os.environ[HEAD].split()
