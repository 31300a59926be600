"""How signals end a stage: at once, or in a training between two steps. Its helper processes end with it (no torch)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import popen_fork
from multiprocessing.connection import wait
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What a cluster sends before it kills a job, what Ctrl-C sends, and what a closed terminal sends."""


class Stop(BaseException):
    """A signal that ends a stage at once. It is no Exception, so that code that catches damaged files lets it pass."""


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Within the block the first of `SIGNALS` raises `Stop`, so that temporary files are removed.

    Later signals are ignored; a second Ctrl-C interrupts. A training uses `stop_signals` within this block.
    Outside the main thread nothing changes. Signals that were ignored before stay ignored.
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

    before = _handlers()
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handlers() -> dict[signal.Signals, Any]:
    """The present handlers of `SIGNALS`, without the signals that are ignored."""
    return {n: handler for n in SIGNALS if (handler := signal.getsignal(n)) is not signal.SIG_IGN}


class _Note:
    """A handler that remembers the first signal. A second Ctrl-C interrupts as usual."""

    def __init__(self) -> None:
        self.number = 0
        self.before = _handlers()

    def __call__(self, number: int, frame: Any) -> None:
        self.number = self.number or number
        if number == signal.SIGINT:
            signal.signal(number, self.before[signal.SIGINT])


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Within the block `SIGNALS` end nothing; the yielded function returns the number of the first, or 0.

    A block within another such block also sees the signals of the outer one. Outside the main thread, where Python
    has no handlers, nothing changes. Signals that were ignored before stay ignored.
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
    """Put off `SIGNALS` to the end of a block that starts processes.

    A process that is interrupted while it starts would print a traceback. The started processes ignore the signals
    from their first moment on, before `begin_helper` runs in them.
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
        """Kill, as the process may ignore SIGTERM. Python calls this when it ends, too."""
        self.kill()


class _HelperProcess(ForkProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> _HelperPopen:  # noqa: N802 - multiprocessing's hook
        return _HelperPopen(process_obj)


class HelperContext(ForkContext):
    """Forks processes that may ignore signals; their parent can end them all the same."""

    Process = _HelperProcess


def ignore_signals() -> None:
    """In a process of `HelperContext`: ignore `SIGNALS`, as a training needs the process until its step is done."""
    if isinstance(multiprocessing.current_process(), _HelperProcess):
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def begin_helper() -> None:
    """In a spawned process that works for another: ignore `SIGNALS`, and end when the other process ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """In a spawned process: end as soon as the process that started it has ended, even while it waits for something."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=end, daemon=True).start()
