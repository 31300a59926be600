"""Errors of each library that mean: out of memory. The errors are real ones."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch

from wsss.runtime.out_of_memory import is_out_of_memory, out_of_memory_message

HUGE = 1 << 45


def from_numpy():
    np.zeros(HUGE, np.float64)


def from_torch():
    torch.empty(HUGE, dtype=torch.float64)


def from_the_system():
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


@pytest.mark.parametrize("ask", [from_numpy, from_torch, from_the_system])
def test_it_is_known(ask):
    with pytest.raises(Exception) as raised:  # noqa: PT011 - of whatever kind
        ask()
    assert is_out_of_memory(raised.value)
    text = out_of_memory_message(raised.value)
    assert text.startswith("out of memory (")
    assert "compute.workers" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "error",
    [
        ValueError("out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("shapes do not fit"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_left_alone(error):
    assert not is_out_of_memory(error)


def test_an_error_without_words_says_where():
    """Python's own has none."""
    assert out_of_memory_message(MemoryError()).startswith("out of memory (MemoryError); what takes less")
    with pytest.raises(MemoryError) as raised:
        bytearray_of(HUGE << 10)
    assert not str(raised.value)
    assert out_of_memory_message(raised.value).startswith(
        "out of memory (MemoryError in bytearray_of); what takes less"
    )


def bytearray_of(size: int) -> bytearray:
    return bytearray(size)
