"""What a stage tells its user: a log file, progress on the terminal, and warnings (no torch)."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from wsss import __version__
from wsss.runtime.disk_errors import unwritable
from wsss.runtime.text import printable

T = TypeVar("T")
log = logging.getLogger("wsss")
GIVEN_BY_CLUSTERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "CUDA_VISIBLE_DEVICES")
"""Environment variables that name a job of a cluster, and its GPUs."""
UNKNOWN_SECONDS = 10
"""Seconds between log lines if the number of items is unknown."""


@contextmanager
def logging_to(path: Path | None, *, stage: str, settings: str) -> Iterator[None]:
    """Log to `path` (or stderr): first what runs and where, last how long it took, and an error if there was one."""
    if path is not None:
        _begin(path)
    handler = _add_handler(path)
    began = time.monotonic()
    versions = f"wsss {__version__} ({revision()}), Python {platform.python_version()}"
    log.info("%s: %s, settings %s", stage, versions, settings)
    log.info("on %s", where())
    try:
        yield
        log.info("%s: done in %.1f s", stage, time.monotonic() - began)
    except BaseException as error:
        log.error("%s: stopped after %.1f s: %s", stage, time.monotonic() - began, str(error) or type(error).__name__)
        raise
    finally:
        log.removeHandler(handler)
        handler.close()


def _begin(path: Path) -> None:
    """Create an empty log file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    except OSError as error:
        raise unwritable(path, error) or error from None


class _LogFile(logging.FileHandler):
    """Warns once if the log cannot be written, e.g. on a full disk: the stage's own error matters more."""

    silent = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Replaces logging's traceback for every line."""
        error = sys.exc_info()[1]
        if not self.silent and isinstance(error, OSError):
            print(printable(f"warning: {unwritable(Path(self.baseFilename), error) or error}"), file=sys.stderr)
            self.silent = True
        elif not isinstance(error, OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close without a further error for lines that could not be written."""
        with suppress(OSError):
            super().close()


class _Lines(logging.Formatter):
    """Spells out control characters: names in a log come from files."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _add_handler(path: Path | None) -> logging.Handler:
    # append mode, as several processes of a training may write to it
    handler = _LogFile(path, mode="a", encoding="utf-8") if path else logging.StreamHandler()
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    return handler


def log_targets() -> list[Path | None]:
    """What this process logs to: files, and None for stderr."""
    return [
        Path(h.baseFilename) if isinstance(h, logging.FileHandler) else None
        for h in log.handlers
        if isinstance(h, logging.StreamHandler)
    ]


def continue_log(targets: list[Path | None] | None) -> None:
    """Use the log of the process that started this one. With None: no log, no warnings and no progress from now on."""
    log.disabled = targets is None
    for target in targets or []:
        _add_handler(target)


def revision() -> str:
    """Short git revision of the package's checkout, or "no git"."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        out = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "no git"
    return out.stdout.strip() or "no git"


def where() -> str:
    """This machine, and on a cluster the job and its GPUs, e.g. "node17, SLURM_JOB_ID 15, CUDA_VISIBLE_DEVICES 0"."""
    given = [f"{name} {os.environ[name]}" for name in GIVEN_BY_CLUSTERS if os.environ.get(name)]
    return ", ".join([platform.node(), *given])


def progress(items: Iterable[T], *, what: str, total: int | None = None, unit: str = "image") -> Iterator[T]:
    """Iterate with a progress bar on a terminal, else with a log line after about every tenth of the items."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if log.disabled:
        yield from items
        return
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, unit=unit, file=sys.stderr, leave=False, dynamic_ncols=True)
        return
    began, step, logged = time.monotonic(), max(1, (total or 1000) // 10), 0.0
    for k, item in enumerate(items, 1):
        yield item
        if k % step == 0 or k == total:
            spent = time.monotonic() - began
            if total is None and spent < logged + UNKNOWN_SECONDS:
                continue
            logged = spent
            left = f", {spent / k * (total - k):.0f} s left" if total else ""
            log.info("%s: %d/%s %ss, %.1f/s%s", what, k, total or "?", unit, k / max(spent, 1e-9), left)


def warn(message: str, *arguments: object) -> None:
    """Write a warning to the log and to stderr."""
    if log.disabled:
        return
    log.warning(message, *arguments)
    print(printable("warning: " + message % arguments), file=sys.stderr)
