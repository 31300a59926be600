"""One reader on one bad input, in a process of its own: how it ends, how long it takes, what memory it takes, and what it leaves."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wsss.runtime.text import printable

SECONDS = 20
"""Until a reader counts as hanging. Those that are measured end within a few."""
MEMORY_MB = 1500
"""What a reader may take beyond what the process has at its start; more is refused by the system."""
LONGEST = 8000
"""Characters of a message, without the folder that the tests work in. Of a data set with every kind of fault, 20 of each are listed."""
SECRET = "canary-5b1f09"
"""Content of files outside the data root: it may be in no message and in no output."""
ALLOWED = (ValueError, OSError)
"""What a command turns into one line and exit code 1 (wsss.cli.stage_commands.reported); a ConfigError, DataError or ArtefactError is a ValueError."""


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
    return attempt_all([read], seconds=seconds, memory_mb=memory_mb)[0]


def attempt_all(
    reads: Sequence[Callable[[], Any]], *, seconds: float = SECONDS, memory_mb: int = MEMORY_MB
) -> list[Outcome]:
    """As `attempt`, several in one fork, which costs as much as many of them do. If the process does not live to the end, there is one outcome, "died" or "hung"."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _run(reads, theirs, memory_mb=memory_mb)
    os.close(theirs)
    said = _listen(ours, until=time.monotonic() + seconds)
    if said is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if said is None:
        return [Outcome(kind="hung", text=f"still running after {seconds} s", seconds=seconds)]
    if not said:
        return [
            Outcome(
                kind="died",
                text=f"ended by signal {os.WTERMSIG(status)}, exit code {os.waitstatus_to_exitcode(status)}",
            )
        ]
    return [Outcome(**entry) for entry in json.loads(said)]


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


def _run(reads: Sequence[Callable[[], Any]], pipe: int, *, memory_mb: int) -> None:
    """The child: never returns."""
    gc.disable()  # going over all objects would copy every page of the parent's
    try:
        for number in (signal.SIGALRM, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        warnings.simplefilter("ignore")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        room = address_space() + (memory_mb << 20)
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        said = json.dumps([_end(read) for read in reads]).encode()
        with contextlib.suppress(BrokenPipeError):
            while said:
                said = said[os.write(pipe, said) :]
    finally:
        os._exit(0)


def _end(read: Callable[[], Any]) -> dict[str, Any]:
    """How one reader ends, as the fields of an Outcome."""
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
    return {
        "kind": kind,
        "text": text[: LONGEST * 4],
        "seconds": round(seconds, 2),
        "memory_mb": (after - before) // 1024,
    }


def address_space() -> int:
    """Of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


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
    """How the package takes one bad input, in a process of its own.

    Args:
        case: The input.
        folder: Empty; IN is for the input, OUT for what is written, OUTSIDE holds the canary.

    Returns:
        What is wrong with it, "" if nothing is; and how the reader ended.
    """
    named, before = _build(case, folder)
    outcome = attempt(partial(case.read, folder / "in"))
    return _fault(case, outcome, folder, left=_files(folder) - before, named=named), outcome


def judge_all(cases: Sequence[Case], folder: Path) -> list[str]:
    """What is wrong with how the package takes some bad inputs, one process for all; each in its own again if that process does not live to the end.

    Args:
        cases: The inputs.
        folder: Empty.

    Returns:
        A line a fault.
    """
    places = [folder / f"{k}" for k in range(len(cases))]
    built = [_build(case, place) for case, place in zip(cases, places, strict=True)]
    outcomes = attempt_all(
        [partial(case.read, place / "in") for case, place in zip(cases, places, strict=True)], seconds=SECONDS * 2
    )
    if len(outcomes) == len(cases):
        tried = zip(cases, outcomes, places, built, strict=True)
        faults = [
            _fault(case, outcome, place, left=_files(place) - before, named=named)
            for case, outcome, place, (named, before) in tried
        ]
        if not any(faults):
            return []
    faults = [judge(case, folder / f"again-{k}")[0] for k, case in enumerate(cases)]
    return [f"{case.name}: {fault}" for case, fault in zip(cases, faults, strict=True) if fault]


def _build(case: Case, folder: Path) -> tuple[str, set[str]]:
    """Write the input: what a message must name, and the files that are there."""
    for name in ("in", "out", "outside"):
        (folder / name).mkdir(parents=True)
    (folder / "outside" / "secret.txt").write_text(SECRET + "\n")
    with _limited():
        named = case.build(folder / "in")
    return named, _files(folder)


def _fault(case: Case, outcome: Outcome, folder: Path, *, left: set[str], named: str) -> str:
    """What is wrong with an outcome."""
    if outcome.kind not in ("read", "refused"):
        return f"{outcome.kind}: {outcome.text[:400]}"
    if case.legal is not None and (outcome.kind == "read") != case.legal:
        return f"{outcome.kind}: {outcome.text[:600]}"
    if outcome.kind == "refused":
        if named not in outcome.text:
            return f"the message does not name {named}: {outcome.text[:400]}"
        if len(outcome.text.replace(str(folder), "")) > LONGEST or any(
            ord(c) < 32 and c not in "\n\t" for c in printable(outcome.text)
        ):
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
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + (memory_mb << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
