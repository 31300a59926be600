"""Signals that ask a training to stop: noticed at once, obeyed between two steps."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import popen_fork
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What a cluster sends before it kills a job, and Ctrl-C."""


class _Note:
    """A handler that remembers the first signal. A second Ctrl-C interrupts as usual."""

    def __init__(self) -> None:
        self.number = 0
        self.before = {n: handler for n in SIGNALS if (handler := signal.getsignal(n)) is not signal.SIG_IGN}

    def __call__(self, number: int, frame: Any) -> None:
        self.number = self.number or number
        if number == signal.SIGINT:
            signal.signal(number, self.before[signal.SIGINT])


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Within the block these signals only set what the yielded function gives: the first one's number, or 0.

    Within another such block it gives what came in that one as well. Outside the main thread, where Python knows no handlers, nothing changes. Signals that were ignored before stay so.
    """
    outer = signal.getsignal(signal.SIGTERM)
    if isinstance(outer, _Note) or threading.current_thread() is not threading.main_thread():
        yield lambda: outer.number if isinstance(outer, _Note) else 0
        return
    note = _Note()
    for number in note.before:
        signal.signal(number, note)
    try:
        yield lambda: note.number
    finally:
        for number, handler in note.before.items():
            signal.signal(number, handler)


class _HelperPopen(popen_fork.Popen):
    def terminate(self) -> None:
        """Also called when Python ends: the process may ignore SIGTERM."""
        self.kill()


class _HelperProcess(ForkProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> _HelperPopen:  # noqa: N802 - multiprocessing's hook
        return _HelperPopen(process_obj)


class HelperContext(ForkContext):
    """Forks processes that may ignore signals, and that their parent can end all the same."""

    Process = _HelperProcess


def ignore_signals() -> None:
    """In a process of `HelperContext`: a signal that reaches all processes of a training must not end it, as the training still needs it for the step it finishes."""
    if isinstance(multiprocessing.current_process(), _HelperProcess):
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
