"""Errors of numpy, torch, OpenCV and the system that mean: out of memory (no torch)."""

from __future__ import annotations

import errno
import re
import traceback

WORDS = re.compile(
    r"out of memory|out-of-memory|can't allocate memory|cannot allocate memory|(failed|unable) to allocate"
    r"|MemoryError|OutOfMemoryError|bad_alloc|bad allocation|insufficient memory"
    r"|could not create a (primitive|memory object)$",
    re.I,
)
"""How libraries say it."""
ADVICE = (
    "what takes less: fewer compute.workers, a smaller batch_size or crop in a training,"
    " fewer or smaller scales in maps and predictions, `--set-threads RULE=1` for the CRF and for saliency;"
    " or give the job more (mem_mb)"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that there was not enough memory.

    Args:
        error: Any error, such as MemoryError (numpy), RuntimeError (torch, oneDNN, a GPU, onnxruntime), cv2.error, or
            OSError of errno ENOMEM (a process could not be started).
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    from_a_library = isinstance(error, Exception) and not isinstance(error, ValueError | OSError)
    return from_a_library and bool(WORDS.search(str(error)))


def out_of_memory_message(error: BaseException) -> str:
    """One line for the user: what failed, and which settings take less memory."""
    lines = str(error).strip().splitlines() or [_place(error)]
    reason = next((line for line in lines if WORDS.search(line) or "allocate" in line), lines[0])
    return f"out of memory ({reason.strip()[:200]}); {ADVICE}"


def _place(error: BaseException) -> str:
    """The kind of an error without a text and the function that raised it, e.g. `MemoryError in forward`."""
    frames = traceback.extract_tb(error.__traceback__)
    return type(error).__name__ + (f" in {frames[-1].name}" if frames else "")
