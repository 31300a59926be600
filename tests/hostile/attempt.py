"""One reader on one bad input, in a process of its own: how it ends, how long it takes, what memory it takes, and what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.limits import printable

SECONDS = 20
"""Until a reader counts as hanging. Those that are measured end within a few."""
MEMORY_MB = 1500
"""What a reader may take beyond what the process has at its start; more is refused by the system."""
LONGEST = 8000
"""Characters of a message. Of a data set with every kind of fault, 20 of each are listed."""
SECRET = "canary-5b1f09"
"""Content of files outside the data root: it may be in no message and in no output."""
ALLOWED = (ValueError, OSError)
"""What a command turns into one line and exit code 1 (wsss.commands.reported); a ConfigError, DataError or ArtefactError is a ValueError."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a reader ended: "read", "refused", "wrong" (an exception of another kind), "died" (by a signal), or "hung"."""

    kind: str
    text: str = ""
    seconds: float = 0.0
    memory_mb: int = 0


def attempt(read: Callable[[], Any], *, seconds: float = SECONDS, memory_mb: int = MEMORY_MB) -> Outcome:
    """Run `read` in a fork of this process, with limits on time and address space.

    Args:
        read: The reader with its input; what it returns is only looked at by itself.
        seconds: Until it is killed.
        memory_mb: Address space beyond this process's.

    Returns:
        How it ended; `text` is the message of its error.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _run(read, theirs, memory_mb=memory_mb)
    os.close(theirs)
    said = _listen(ours, until=time.monotonic() + seconds)
    if said is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if said is None:
        return Outcome(kind="hung", text=f"still running after {seconds} s", seconds=seconds)
    if not said:
        return Outcome(kind="died", text=f"ended by signal {os.WTERMSIG(status)}, exit code {os.waitstatus_to_exitcode(status)}")
    return Outcome(**json.loads(said))


def _listen(pipe: int, *, until: float) -> bytes | None:
    """What comes out of the pipe until it is closed; None if the time is over before."""
    said = b""
    try:
        while (left := until - time.monotonic()) > 0:
            if select.select([pipe], [], [], left)[0]:
                block = os.read(pipe, 1 << 16)
                if not block:
                    return said
                said += block
        return None
    finally:
        os.close(pipe)


def _run(read: Callable[[], Any], pipe: int, *, memory_mb: int) -> None:
    """The child: never returns."""
    try:
        for number in (signal.SIGALRM, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        warnings.simplefilter("ignore")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        room = pages * os.sysconf("SC_PAGE_SIZE") + (memory_mb << 20)
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        kind, text = "read", ""
        try:
            read()
        except ALLOWED as error:
            kind, text = "refused", str(error)
        except AssertionError as error:
            kind, text = "wrong", f"a wrong answer: {error}"
        except BaseException as error:
            kind, text = "wrong", f"{type(error).__name__}: {error}"
        after, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic() - began
        said = {"kind": kind, "text": text[: LONGEST * 4], "seconds": round(seconds, 2), "memory_mb": (after - before) // 1024}
        with contextlib.suppress(BrokenPipeError):
            os.write(pipe, json.dumps(said).encode())
    finally:
        os._exit(0)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One bad input.

    Attributes:
        kind: Of file, as in the table of docs/SECURITY.md.
        name: What is bad about it.
        build: Writes it into an empty folder and gives what the message must name (a file's name), or "".
        read: The package's reader or stage, on the folder.
        legal: True where the input is odd and must be read rightly (`read` asserts the answer), None where either is right.
    """

    kind: str
    name: str
    build: Callable[[Path], str]
    read: Callable[[Path], Any]
    legal: bool | None = False


def judge(case: Case, folder: Path) -> tuple[str, Outcome]:
    """How the package takes one bad input.

    Args:
        case: The input.
        folder: Empty; IN is for the input, OUT for what is written, OUTSIDE holds the canary.

    Returns:
        What is wrong with it, "" if nothing is; and how the reader ended.
    """
    for name in ("in", "out", "outside"):
        (folder / name).mkdir()
    (folder / "outside" / "secret.txt").write_text(SECRET + "\n")
    with _limited():
        named = case.build(folder / "in")
    before = _files(folder)
    outcome = attempt(lambda: case.read(folder / "in"))
    return _fault(case, outcome, folder, left=_files(folder) - before, named=named), outcome


def _fault(case: Case, outcome: Outcome, folder: Path, *, left: set[str], named: str) -> str:
    """What is wrong with an outcome."""
    if outcome.kind not in ("read", "refused"):
        return f"{outcome.kind}: {outcome.text[:400]}"
    if case.legal is not None and (outcome.kind == "read") != case.legal:
        return f"{outcome.kind}: {outcome.text[:600]}"
    if outcome.kind == "refused":
        if named not in outcome.text:
            return f"the message does not name {named}: {outcome.text[:400]}"
        if len(outcome.text) > LONGEST or any(ord(c) < 32 and c not in "\n\t" for c in printable(outcome.text)):
            return f"a message of {len(outcome.text)} characters: {outcome.text[:200]!r}"
        if left:
            return f"files were left: {sorted(left)[:5]}"
    if SECRET in outcome.text or any(SECRET.encode() in (folder / f).read_bytes() for f in left):
        return "a file outside the data root was read"
    if (folder / "outside" / "ran").exists():
        return "something in the input was executed"
    return ""


@contextlib.contextmanager
def _limited(memory_mb: int = 2000) -> Iterator[None]:
    """This process with a limit on its address space, so that an input that is built wrongly takes no machine down."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + (memory_mb << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
