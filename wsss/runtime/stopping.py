"""What ends a stage before its time: signals, obeyed at once or, in a training, between two steps; the loss of the process that started it."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import popen_fork
from multiprocessing.connection import wait
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any

from wsss.runtime.liveness import process_start

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What a cluster sends before it kills a job, Ctrl-C, and what a closed terminal sends."""
HEAD = "WSSS_HEAD"
"""Environment variable by which the workflow's process makes itself known to the stages that it starts."""
LOOK_EVERY = 0.5
"""Seconds between two looks whether that process is there."""


class Stop(BaseException):
    """A signal that is obeyed at once. No Exception: what takes any OSError for a damaged file must let it pass."""


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Within the block the first of these signals raises `Stop`, so that temporary files go. Others that follow are ignored, but for a second Ctrl-C, which interrupts.

    A training has `stop_signals` within. Outside the main thread nothing changes. Signals that were ignored before stay so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def stop(number: int, frame: Any) -> None:
        came.append(number)
        if len(came) == 1:
            raise Stop(f"stopped by {signal.Signals(number).name}; nothing half-written is left, start again")
        if came.count(signal.SIGINT) > 1:
            raise KeyboardInterrupt

    before = {n: handler for n in SIGNALS if (handler := signal.getsignal(n)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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


@contextmanager
def signals_later() -> Iterator[None]:
    """A block that starts processes: signals to stop are obeyed at its end, as one that is being started would say that nobody tells it what to do.

    The processes leave signals to this one from their first moment on, not only from `begin_helper` on.
    """
    with stop_signals() as asked:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if asked() and not isinstance(signal.getsignal(signal.SIGTERM), _Note):
        signal.raise_signal(asked())


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


def begin_helper() -> None:
    """In a spawned process that works for another: signals are left to that one, and without it this one ends, whatever it waits for."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """In a spawned process: end it as soon as the one that started it is gone. Nobody would notice what it does, and it may wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=end, daemon=True).start()


def announce_head() -> None:
    """Make this process known to the stages that it will start."""
    if place := _place():
        os.environ[HEAD] = " ".join((*place, str(os.getpid()), process_start(os.getpid())))


def follow_head() -> None:
    """Send this process SIGTERM when the workflow's process that started it is gone, however it ended: nobody waits for the product any more, and a new run would work on the same.

    Nothing is followed where no workflow started this process, or one on another machine did.
    """
    words = os.environ.get(HEAD, "").split()
    if len(words) == 4 and tuple(words[:2]) == _place():
        threading.Thread(target=_follow, args=(int(words[2]), words[3]), daemon=True).start()


def _follow(pid: int, start: str) -> None:
    while process_start(pid) == start:
        time.sleep(LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


def _place() -> tuple[str, ...]:
    """Where process numbers are valid: this machine, and the container on it. Empty where the system does not say."""
    try:
        return platform.node(), os.readlink("/proc/self/ns/pid")
    except OSError:
        return ()
