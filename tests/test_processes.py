"""Ordered work in processes: order, parity, faults."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence

import pytest

from wsss.processes import map_blocks


def squares(block: Sequence[int]) -> Iterator[int]:
    for k in block:
        yield k * k


def fails_at_seven(block: Sequence[int]) -> Iterator[int]:
    for k in block:
        if k == 7:
            raise ValueError("seven")
        yield k


def dies(block: Sequence[int]) -> Iterator[int]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield from block


@pytest.mark.parametrize(("workers", "count"), [(0, 5), (1, 0), (1, 40), (2, 0), (2, 1), (2, 40), (3, 5)])
def test_results_come_in_order(workers: int, count: int) -> None:
    assert list(map_blocks(squares, range(count), workers=workers)) == [k * k for k in range(count)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fault_reaches_the_caller(workers: int) -> None:
    with pytest.raises(ValueError, match="seven"):
        list(map_blocks(fails_at_seven, range(20), workers=workers))


def test_a_killed_process_is_said() -> None:
    with pytest.raises(OSError, match="killed"):
        list(map_blocks(dies, range(4), workers=2))
