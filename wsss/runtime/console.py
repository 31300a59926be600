"""The three channels: the log file, progress on the terminal, and one line for a bad input."""

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
"""Environment variables that find a job again at its cluster, and its GPUs."""
UNKNOWN_SECONDS = 10
"""Between log lines where nobody knows how many items there are."""


@contextmanager
def logging_to(path: Path | None, *, stage: str, settings: str) -> Iterator[None]:
    """Log to `path` (or stderr): first lines what runs and where, last line how long it took, an error in between if there was one."""
    if path is not None:
        _begin(path)
    handler = _add_handler(path)
    began = time.monotonic()
    log.info(
        "%s: wsss %s (%s), Python %s, settings %s", stage, __version__, revision(), platform.python_version(), settings
    )
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
    """An empty log file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    except OSError as error:
        raise unwritable(path, error) or error from None


class _LogFile(logging.FileHandler):
    """Says once that the log cannot be written, e.g. because the disk is full: the stage's own error is what must be read."""

    silent = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Instead of a traceback for every line."""
        error = sys.exc_info()[1]
        if not self.silent and isinstance(error, OSError):
            print(printable(f"warning: {unwritable(Path(self.baseFilename), error) or error}"), file=sys.stderr)
            self.silent = True
        elif not isinstance(error, OSError):
            super().handleError(record)

    def close(self) -> None:
        """Without another error for lines that could not be written."""
        with suppress(OSError):
            super().close()


class _Lines(logging.Formatter):
    """As usual, with control characters spelt out: names in a log come from files."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _add_handler(path: Path | None) -> logging.Handler:
    # appending: several processes of a training may write to it
    handler = _LogFile(path, mode="a", encoding="utf-8") if path else logging.StreamHandler()
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    return handler


def log_targets() -> list[Path | None]:
    """Where this process logs to: files, and None for stderr."""
    return [
        Path(h.baseFilename) if isinstance(h, logging.FileHandler) else None
        for h in log.handlers
        if isinstance(h, logging.StreamHandler)
    ]


def continue_log(targets: list[Path | None] | None) -> None:
    """Go on with the log of the process that started this one; with None be silent for good: no log, no warnings, no progress."""
    log.disabled = targets is None
    for target in targets or []:
        _add_handler(target)


def revision() -> str:
    """Short git revision of the package's checkout, or "no git"."""
    try:
        out = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "no git"
    return out.stdout.strip() or "no git"


def where() -> str:
    """This machine and, on a cluster, the job's number and the GPUs it was given: "node17, SLURM_JOB_ID 15, CUDA_VISIBLE_DEVICES 0"."""
    given = [f"{name} {os.environ[name]}" for name in GIVEN_BY_CLUSTERS if os.environ.get(name)]
    return ", ".join([platform.node(), *given])


def progress(items: Iterable[T], *, what: str, total: int | None = None, unit: str = "image") -> Iterator[T]:
    """Iterate with a bar (rate, time left) on a terminal, or a plain log line about every tenth of the way."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if log.disabled:
        yield from items
        return
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, unit=unit, file=sys.stderr, leave=False, dynamic_ncols=True)
        return
    began, step, said = time.monotonic(), max(1, (total or 1000) // 10), 0.0
    for k, item in enumerate(items, 1):
        yield item
        if k % step == 0 or k == total:
            spent = time.monotonic() - began
            if total is None and spent < said + UNKNOWN_SECONDS:
                continue
            said = spent
            left = f", {spent / k * (total - k):.0f} s left" if total else ""
            log.info("%s: %d/%s %ss, %.1f/s%s", what, k, total or "?", unit, k / max(spent, 1e-9), left)


def warn(message: str, *arguments: object) -> None:
    """A warning that must not be missed: in the log and on stderr."""
    if log.disabled:
        return
    log.warning(message, *arguments)
    print(printable("warning: " + message % arguments), file=sys.stderr)
