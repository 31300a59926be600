"""Starts the processes of one training, one process a GPU of this machine, and watches them.

The watching process does not train. So it can end and name a process that hangs in a collective operation, where Python
handles no signal.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from wsss.runtime import console
from wsss.runtime.stopping import SIGNALS, end_with_parent, stop_signals
from wsss.settings.sections import ComputeSection

PATIENCE = 600.0
"""Seconds that a process waits for the others in a collective operation before it gives up."""
GRACE = 5.0
"""Seconds that the others have to end by themselves once one has failed."""
AGAIN = "the training goes on when it is started again"
"""Advice."""


def processes_for(devices: int, *, compute: ComputeSection) -> int:
    """Number of processes of a training.

    Args:
        devices: Asked for.
        compute: With device cpu, as many processes as asked for share the CPU.

    Returns:
        One process a GPU, or 1 without a GPU.

    Raises:
        ValueError: If torch finds fewer GPUs than asked for.
    """
    if devices < 2 or compute.device == "cpu":
        return max(1, devices)
    if not torch.cuda.is_available():
        console.log.info("%d devices asked for: without a GPU there is one process", devices)
        return 1
    if (found := torch.cuda.device_count()) < devices:
        raise ValueError(
            f"--devices {devices}, but torch finds {found} GPU{'s' * (found > 1)}; "
            "ask for no more, or check CUDA_VISIBLE_DEVICES and the job's reservation"
        )
    return devices


def run_together(
    function: Callable[..., None], arguments: Mapping[str, Any], *, count: int, cuda: bool, patience: float = PATIENCE
) -> None:
    """Call `function(**arguments)` in several processes that share a process group; the first one logs and writes.

    A signal to stop is passed on to all of them. If one fails, the others are ended. What they exchange is in
    `wsss/training/collectives.py`.

    Args:
        function: A module's function.
        arguments: Picklable.
        count: Processes.
        cuda: Whether each has its own GPU (NCCL), or all share the CPU (gloo).
        patience: Seconds that one waits for the others.

    Raises:
        ValueError: What a process says of bad input.
        InterruptedError: If a signal stopped them.
        OSError: If a process was killed, or did not answer.
        RuntimeError: Any other failure, with that process's traceback.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="wsss-") as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(count)]
        meeting = {
            "store": f"{folder}/store",
            "count": count,
            "backend": "nccl" if cuda else "gloo",
            "patience": patience,
        }
        started = [
            context.Process(
                target=_work,
                args=(function, dict(arguments)),
                kwargs={"rank": k, "report": pipe[1], "logs": console.log_targets(), **meeting},
            )
            for k, pipe in enumerate(pipes)
        ]
        try:
            with _passing_on(started) as signals:
                for process in started:
                    process.start()
                if signals:  # they came before the processes did
                    started[0].terminate()
                ended = _watch(started, hurry=lambda: signals.count("SIGINT") > 1)
        finally:
            for process in started:
                if process.pid:
                    process.kill()
                    process.join()
        if any(process.exitcode for process in started):
            raise _failure(
                started, [_received(pipe[0]) for pipe in pipes], ended=ended, signals=signals, patience=patience
            )


def _work(
    function: Callable[..., None],
    arguments: dict[str, Any],
    *,
    rank: int,
    count: int,
    store: str,
    backend: str,
    patience: float,
    logs: list[Path | None],
    report: Connection,
) -> None:
    """Run one of the processes."""
    for number in {*SIGNALS} - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)  # the watching process passes them on, as SIGTERM
    end_with_parent()
    console.continue_log(logs if rank == 0 else None)
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are on this machine, whose name may not resolve
    try:
        if backend == "nccl":
            torch.cuda.set_device(rank)
        dist.init_process_group(
            backend,
            store=dist.FileStore(store, count),
            rank=rank,
            world_size=count,
            timeout=timedelta(seconds=patience),
        )
        with stop_signals():  # also a signal before or after the steps must not end this process silently
            function(**arguments)
        dist.destroy_process_group()
    except BaseException as error:
        report.send((_kind(error), str(error) or type(error).__name__, traceback.format_exc()[-8000:]))
        os._exit(1)  # ending in order would wait for the others


def _kind(error: BaseException) -> str:
    """Kind of an error: stopped, input (a message for the user), lost (another process does not answer), or fault."""
    if isinstance(error, InterruptedError):
        return "stopped"
    if isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and re.search("gloo|nccl|by peer", str(error), re.I)
    ):
        return "lost"
    return "input" if isinstance(error, ValueError | OSError) else "fault"


@contextmanager
def _passing_on(processes: list[SpawnProcess]) -> Iterator[list[str]]:
    """Pass signals to stop on to the processes within the block; yield the names of those that came."""
    came: list[str] = []

    def pass_on(number: int, frame: Any) -> None:
        came.append(signal.Signals(number).name)
        for process in processes:
            if process.pid and process.exitcode is None:
                process.terminate()

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    unheard = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()  # nohup
    before = {number: signal.signal(number, pass_on) for number in {*SIGNALS} - unheard}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(processes: list[SpawnProcess], *, hurry: Callable[[], bool]) -> list[int]:
    """Wait until all have ended; once one has failed, or on a second Ctrl-C, end the others.

    Returns:
        The ranks that ended by themselves, in order.
    """
    alive = {process.sentinel: rank for rank, process in enumerate(processes)}
    ended: list[int] = []
    until = float("inf")
    while alive:
        for sentinel in wait(list(alive), timeout=0.5):
            rank = alive.pop(sentinel)  # type: ignore[arg-type]
            ended.append(rank)
            processes[rank].join()
            if processes[rank].exitcode:
                until = min(until, time.monotonic() + GRACE)
        if time.monotonic() > until or hurry():
            for rank in alive.values():
                processes[rank].kill()
            break
    return ended


def _received(pipe: Connection) -> tuple[str, str, str]:
    """What a process reported of its end; empty if it could not."""
    return pipe.recv() if pipe.poll() else ("", "", "")


def _failure(
    processes: list[SpawnProcess],
    reports: list[tuple[str, str, str]],
    *,
    ended: list[int],
    signals: list[str],
    patience: float,
) -> Exception:
    """Make one error of the cause, and leave out what it made the other processes report."""
    count = len(processes)
    first = {kind: (rank, text, trace) for rank in reversed(ended) for kind, text, trace in [reports[rank]]}
    if "stopped" in first:
        return InterruptedError(first["stopped"][1].replace("SIGTERM", signals[0] if signals else "SIGTERM"))
    if signals:
        return InterruptedError(f"stopped by {signals[0]} before or after its steps; start again")
    for rank in ended:
        if (code := processes[rank].exitcode or 0) < 0:
            return OSError(
                f"process {rank + 1} of {count} was killed by {signal.Signals(-code).name} "
                f"(by hand, or for lack of memory); {AGAIN}"
            )
    if "input" in first:
        return ValueError(first["input"][1])
    if "fault" in first:
        return RuntimeError(f"process {first['fault'][0] + 1} of {count} failed:\n{first['fault'][2]}")
    silent = [rank + 1 for rank in range(count) if rank not in ended] or [rank + 1 for rank in range(count)]
    reason = first["lost"][1].splitlines()[0] if "lost" in first else "it ended without a report"
    return OSError(
        f"process {', '.join(map(str, silent))} of {count} did not answer within {patience:g} s "
        f"or could not be reached ({reason}); {AGAIN}"
    )
