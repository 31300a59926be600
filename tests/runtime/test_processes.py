"""Ordered work in processes: order, parity, faults."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from wsss.runtime.processes import BLOCK, map_blocks
from wsss.runtime.stopping import SIGNALS, Stop, signals_later, stopping_at_once


def squares(block: Sequence[int]) -> Iterator[int]:
    for k in block:
        yield k * k


def fails_at_seven(block: Sequence[int]) -> Iterator[int]:
    for k in block:
        if k == 7:
            raise ValueError("seven")
        yield k


def arrays(block: Sequence[int]) -> Iterator[np.ndarray]:
    for k in block:
        yield np.full(10, k)


def dies(block: Sequence[int]) -> Iterator[int]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield from block


@pytest.mark.parametrize(("workers", "count"), [(0, 5), (1, 0), (1, 40), (2, 0), (2, 1), (2, 40), (3, 5)])
def test_results_come_in_order(workers: int, count: int) -> None:
    assert list(map_blocks(squares, range(count), workers=workers)) == [k * k for k in range(count)]


def test_results_that_were_given_are_not_kept() -> None:
    """A shard's response maps are gigabytes."""
    given = []
    for result in map_blocks(arrays, range(4 * BLOCK), workers=2):
        given.append(weakref.ref(result))
        kept = sum(r() is not None for r in given)
    assert kept <= BLOCK


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fault_reaches_the_caller(workers: int) -> None:
    with pytest.raises(ValueError, match="seven"):
        list(map_blocks(fails_at_seven, range(20), workers=workers))


def test_a_killed_process_is_said() -> None:
    with pytest.raises(OSError, match="killed"):
        list(map_blocks(dies, range(4), workers=2))


def work_until_stopped(by: threading.Timer) -> None:
    with stopping_at_once():
        by.start()
        for _ in range(100):
            list(map_blocks(squares, range(40), workers=2))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_processes_are_started_is_one_error(
    number: int, usual_signals: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """At any moment, to this process or, like Ctrl-C, to those it starts as well; none of them says a word."""
    for moment in [0.002, 0.005, 0.01, 0.02, 0.04, 0.07, 0.1, 0.2]:
        others = set(multiprocessing.active_children())
        after = threading.Timer(moment, os.kill, (os.getpid(), number))
        with pytest.raises(Stop, match=signal.Signals(number).name):
            work_until_stopped(by=after)
        after.join()
        assert set(multiprocessing.active_children()) == others
    assert capfd.readouterr() == ("", "")


def test_started_processes_leave_signals_alone_from_the_first(usual_signals: None) -> None:
    """Ctrl-C reaches them as well, while they import what they need."""
    with signals_later():
        started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"], stderr=subprocess.PIPE)
    for number in SIGNALS:
        started.send_signal(number)
    assert started.communicate()[1] == b""
    assert started.returncode == 0
