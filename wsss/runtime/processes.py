"""Work in several processes, its results in order (no torch)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from wsss.runtime.stopping import begin_helper, signals_later

T = TypeVar("T")
R = TypeVar("R")
LOOK_EVERY = 1.0
"""Seconds between two checks of the pool while no result comes."""
BLOCK = 16
"""Items of a task: enough that opening a file or a network once per task costs little."""


def map_blocks(function: Callable[[Sequence[T]], Iterable[R]], items: Sequence[T], *, workers: int) -> Iterator[R]:
    """Apply `function` to blocks of `items` in several processes.

    Processes are spawned, not forked: numba, OpenCV and onnxruntime keep threads. So results do not depend on what the
    caller has imported.

    Args:
        function: Takes a block of items and returns one result for each. It must be picklable: a module-level function
            or a `functools.partial` of one.
        items: What to work on. They are pickled, so pass paths and keys, not pixels.
        workers: Processes; 0 or 1: work in this process.

    Yields:
        One result for each item, in the order of `items`.

    Raises:
        OSError: If a process was killed.
    """
    size = max(1, min(BLOCK, -(-len(items) // max(1, workers))))
    blocks = [items[k : k + size] for k in range(0, len(items), size)]
    if workers <= 1 or len(blocks) <= 1:
        for block in blocks:
            yield from function(block)
        return
    others, whole = set(multiprocessing.active_children()), False
    pool = ProcessPoolExecutor(min(workers, len(blocks)), multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        with signals_later():
            tasks = [pool.submit(_run, function, block) for block in blocks][::-1]
        # not pool.map: it cancels tasks while the pool's thread marks them as broken, which prints a traceback
        while tasks:  # pop, so that results that were yielded can be freed
            yield from _result(tasks.pop(), pool)
        whole = True
    except BrokenProcessPool:
        fault = f"one of {workers} processes was killed, most often for lack of memory"
        fewer = "use fewer (snakemake --set-threads RULE=1; by hand --workers 1) or smaller images"
        raise OSError(f"{fault}; {fewer}") from None
    finally:
        with signals_later():  # a signal here would leave processes behind
            if not whole:  # a signal or a fault: nobody waits for the blocks in progress
                for process in set(multiprocessing.active_children()) - others:
                    process.kill()
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    cv2.setNumThreads(1)
    begin_helper()


def _result(task: Future[list[R]], pool: ProcessPoolExecutor) -> list[R]:
    """Wait for a task's result, but not for ever: a pool that lost a process may have lost the task, too."""
    while not task.done() and not pool._broken:
        wait([task], timeout=LOOK_EVERY)
    if not task.done():
        raise BrokenProcessPool
    return task.result()


def _run(function: Callable[[Sequence[T]], Iterable[R]], block: Sequence[T]) -> list[R]:
    return list(function(block))
