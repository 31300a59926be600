"""Ordered work in several processes: the one place that starts a pool (no torch)."""

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
"""Seconds between two looks whether the pool is whole, while nothing is done."""
BLOCK = 16
"""Items a task: enough to open a file or a network once per task at no visible cost."""


def map_blocks(function: Callable[[Sequence[T]], Iterable[R]], items: Sequence[T], *, workers: int) -> Iterator[R]:
    """Results of `function` over blocks of `items`, one result an item, in the order of `items`.

    Processes are spawned, not forked (numba, OpenCV and onnxruntime keep threads), so results and behaviour do not depend on what the caller has imported.

    Args:
        function: Picklable (a module-level function or a `functools.partial` of one); gets a block of items and gives one result for each.
        items: What to work on; pickled, so pass paths and keys, not pixels.
        workers: Processes; up to 1 works in this process, without a pool.

    Yields:
        One result an item.

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
        # not pool.map, which cancels tasks while the pool's thread marks them as broken: that thread would print a traceback
        while tasks:  # each is let go of with its results
            yield from _result(tasks.pop(), pool)
        whole = True
    except BrokenProcessPool:
        raise OSError(
            f"one of {workers} processes was killed, most often for lack of memory; use fewer (snakemake --set-threads RULE=1; by hand --workers 1) or smaller images"
        ) from None
    finally:
        with signals_later():  # one that came amid this would leave processes behind
            if not whole:  # a signal or a fault: nobody waits for the blocks in progress
                for process in set(multiprocessing.active_children()) - others:
                    process.kill()
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    cv2.setNumThreads(1)
    begin_helper()


def _result(task: Future[list[R]], pool: ProcessPoolExecutor) -> list[R]:
    """The task's result. A pool that lost a process while tasks were handed to it may forget some of them, so nobody waits for those."""
    while not task.done() and not pool._broken:
        wait([task], timeout=LOOK_EVERY)
    if not task.done():
        raise BrokenProcessPool
    return task.result()


def _run(function: Callable[[Sequence[T]], Iterable[R]], block: Sequence[T]) -> list[R]:
    return list(function(block))
