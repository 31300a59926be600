"""Lack of memory, which numpy, torch, OpenCV and the system each say in their own way (no torch)."""

from __future__ import annotations

import errno
import re
import traceback

WORDS = re.compile(
    r"out of memory|out-of-memory|can't allocate memory|cannot allocate memory|(failed|unable) to allocate|MemoryError|OutOfMemoryError|bad_alloc|bad allocation|insufficient memory|could not create a (primitive|memory object)$",
    re.I,
)
ADVICE = (
    "what takes less: fewer compute.workers, a smaller batch_size or crop in a training, fewer or smaller scales in maps and predictions,"
    " `--set-threads RULE=1` for the CRF and for saliency; or give the job more (mem_mb)"
)


def lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had.

    Args:
        error: Whatever was raised: MemoryError (numpy), RuntimeError (torch on a CPU, its oneDNN, a GPU; onnxruntime), cv2.error, OSError of errno ENOMEM (a process could not be started).
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return (
        isinstance(error, Exception) and not isinstance(error, ValueError | OSError) and bool(WORDS.search(str(error)))
    )


def told(error: BaseException) -> str:
    """One line for the user: what could not be had, or where if the error does not say (Python's own), and what takes less."""
    lines = str(error).strip().splitlines() or [_place(error)]
    said = next((line for line in lines if WORDS.search(line) or "allocate" in line), lines[0])
    return f"out of memory ({said.strip()[:200]}); {ADVICE}"


def _place(error: BaseException) -> str:
    """The kind of an error and the function that it was raised in, e.g. `MemoryError in forward`."""
    frames = traceback.extract_tb(error.__traceback__)
    return type(error).__name__ + (f" in {frames[-1].name}" if frames else "")
