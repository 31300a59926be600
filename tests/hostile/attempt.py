"""Readers on bad inputs, in a process apart with limits on memory and time: how they end, and what they leave."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wsss.runtime.text import printable

SECONDS = 40
"""Until a process counts as hanging. A block of inputs takes a few seconds."""
MEMORY_MB = 1500
"""What a process may take beyond what it has at its start; the system refuses more."""
LONGEST = 8000
"""Characters of a message, without the folder that the tests work in. Of each kind of fault, 20 are listed."""
SECRET = "canary-5b1f09"
"""Content of files outside the data root: it may be in no message and in no output."""
ALLOWED = (ValueError, OSError)
"""What a command turns into one line and exit code 1 (wsss.cli.stage_commands.reported)."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a reader ended: "read", "refused", "wrong" (another exception), "died" (by a signal), or "hung"."""

    kind: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One bad input.

    Attributes:
        kind: Kind of file.
        name: What is bad about it.
        build: Writes it into an empty folder and returns what the message must name (a file's name), or "".
        read: The package's reader or stage, on the folder.
        legal: True: the input is odd and must be read rightly (`read` asserts the answer); None: either is right.
    """

    kind: str
    name: str
    build: Callable[[Path], str]
    read: Callable[[Path], Any]
    legal: bool | None = False


def each(
    kind: str,
    contents: Mapping[str, Any],
    build: Callable[..., str],
    read: Callable[[Path], Any],
    *,
    legal: bool | None = False,
) -> list[Case]:
    """A case for each entry of `contents`, which `build(folder, content=entry)` writes."""
    return [
        Case(kind=kind, name=name, build=partial(build, content=content), read=read, legal=legal)
        for name, content in contents.items()
    ]


def attempt(reads: Sequence[Callable[[], Any]], *, seconds: float = SECONDS) -> list[Outcome]:
    """Run readers in a fork of this process, with limits on time and address space.

    Returns:
        How each ended. If the process does not live to the end, one outcome alone, "died" or "hung".
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _run(reads, theirs)
    os.close(theirs)
    answer = _listen(ours, until=time.monotonic() + seconds)
    if answer is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if answer is None:
        return [Outcome(kind="hung", text=f"still running after {seconds} s")]
    if not answer:
        return [Outcome(kind="died", text=f"exit code {os.waitstatus_to_exitcode(status)}")]
    return [Outcome(**entry) for entry in json.loads(answer)]


def _listen(pipe: int, *, until: float) -> bytes | None:
    """What comes out of the pipe until it is closed; None if the time is over before."""
    answer = b""
    try:
        while (left := until - time.monotonic()) > 0:
            if select.select([pipe], [], [], left)[0]:
                block = os.read(pipe, 1 << 16)
                if not block:
                    return answer
                answer += block
        return None
    finally:
        os.close(pipe)


def _run(reads: Sequence[Callable[[], Any]], pipe: int) -> None:
    """The child: never returns."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # the threads of the process above are not in a fork: torch would wait for them
    gc.disable()  # going over all objects would copy every page of the parent's
    try:
        for number in (signal.SIGALRM, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        warnings.simplefilter("ignore")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with _limited():
            answer = json.dumps([_end(read) for read in reads]).encode()
        with contextlib.suppress(BrokenPipeError):
            while answer:
                answer = answer[os.write(pipe, answer) :]
    finally:
        os._exit(0)


def _end(read: Callable[[], Any]) -> dict[str, str]:
    """How one reader ends, as the fields of an Outcome."""
    kind, text = "read", ""
    try:
        read()
    except ALLOWED as error:
        kind, text = "refused", str(error)
    except AssertionError as error:
        kind, text = "wrong", f"a wrong answer: {error}"
    except BaseException as error:
        kind, text = "wrong", f"{type(error).__name__}: {error}"
    return {"kind": kind, "text": text[: LONGEST * 4]}


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """This process with a limit on its address space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + (MEMORY_MB << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def faults_of(cases: Sequence[Case], folder: Path) -> list[str]:
    """What is wrong with how the package takes some bad inputs, a line each.

    All are read in one process; if it does not live to the end, each again in a process of its own.

    Args:
        cases: The inputs.
        folder: Empty.
    """
    places = [folder / f"{k}" for k in range(len(cases))]
    built = [_build(case, place) for case, place in zip(cases, places, strict=True)]
    reads = [partial(case.read, place / "in") for case, place in zip(cases, places, strict=True)]
    outcomes = attempt(reads)
    if len(outcomes) < len(cases):
        outcomes = [attempt([read])[0] for read in reads]
    found = []
    for case, outcome, place, (named, before) in zip(cases, outcomes, places, built, strict=True):
        if fault := _fault(case, outcome, place, left=_files(place) - before, named=named):
            found.append(f"{case.name}: {fault}")
    return found


def _build(case: Case, folder: Path) -> tuple[str, set[str]]:
    """Write the input: what a message must name, and the files that are there. OUTSIDE holds the canary."""
    for name in ("in", "out", "outside"):
        (folder / name).mkdir(parents=True)
    (folder / "outside" / "secret.txt").write_text(SECRET + "\n")
    with _limited():
        named = case.build(folder / "in")
    return named, _files(folder)


def _fault(case: Case, outcome: Outcome, folder: Path, *, left: set[str], named: str) -> str:
    """What is wrong with an outcome; "" if nothing is."""
    text = outcome.text
    if outcome.kind not in ("read", "refused"):
        return f"{outcome.kind}: {text[:400]}"
    if case.legal is not None and (outcome.kind == "read") != case.legal:
        return f"{outcome.kind}: {text[:600]}"
    if outcome.kind == "refused":
        if named not in text:
            return f"the message does not name {named}: {text[:400]}"
        if len(text.replace(str(folder), "")) > LONGEST:
            return f"a message of {len(text)} characters: {text[:200]!r}"
        if any(ord(c) < 32 and c not in "\n\t" for c in printable(text)):
            return f"control characters in the message: {text[:200]!r}"
        if left:
            return f"files were left: {sorted(left)[:5]}"
    if SECRET in text or any(SECRET.encode() in (folder / f).read_bytes() for f in left):
        return "a file outside the data root was read"
    if (folder / "outside" / "ran").exists():
        return "something in the input was executed"
    return ""


def _files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
