"""Signals, as a stage notices them."""

from __future__ import annotations

import os
import signal

import pytest

from wsss.runtime.stopping import SIGNALS, Stop, stop_signals, stopping_at_once

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
