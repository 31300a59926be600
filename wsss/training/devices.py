"""The device of a stage, and what makes torch repeatable and fast on it."""

from __future__ import annotations

import ctypes

import torch

from wsss.runtime.console import log
from wsss.settings.sections import ComputeSection
from wsss.training import collectives


def pick_device(compute: ComputeSection) -> torch.device:
    """Pick the device of a stage. Also set torch's number of threads, which changes the last bits of results.

    Args:
        compute: Device (auto, cpu or cuda) and threads.

    Returns:
        The CPU, the GPU, or this process's own GPU where several processes share a training.

    Raises:
        ValueError: If cuda is asked for and there is none.
    """
    torch.set_num_threads(compute.threads)
    _keep_freed_memory()
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("compute.device is 'cuda' but torch finds no CUDA GPU; use auto or cpu, or check the driver")
    if compute.device == "auto" and not torch.cuda.is_available():
        log.info("no GPU found: using the CPU")
    cuda = compute.device != "cpu" and torch.cuda.is_available()
    if cuda:  # else cuDNN picks convolutions by timing them, and sums in any order
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    if cuda and collectives.size() > 1:
        return torch.device("cuda", collectives.rank())
    return torch.device("cuda" if cuda else "cpu")


def _keep_freed_memory() -> None:
    """Stop glibc from giving every large buffer back to the system.

    A training on a CPU asks for the same buffers in each step. Clearing new pages costs a sixth of its time.
    """
    trim_threshold, mmap_max = -1, -4  # malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
