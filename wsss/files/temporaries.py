"""Who writes a temporary file, and whether that process is still there: what a killed one left may go, what is being written may not (no torch)."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import time
from contextlib import suppress
from pathlib import Path

from wsss.runtime.liveness import process_start

HERE = hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()
"""This machine, in the names of temporary files: a process number means nothing on another one."""
NAME = re.compile(r"\.tmp-[0-9a-f]{8}-\d+$")
LONGEST_NAME = 220
"""Bytes of a file's name that are part of its temporary one, which may have 255; longer ones are digested."""
LONGEST_WRITE = 86_400
"""Seconds after which a temporary file of another machine counts as left behind."""


def temporary_of(path: Path, *, pid: int | None = None) -> Path:
    """The name under which a process of this machine, by default this one, writes a file before it is whole: in the same folder, hidden."""
    name = (
        path.name
        if len(os.fsencode(path.name)) <= LONGEST_NAME
        else hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    )
    return path.with_name(f".{name}.tmp-{HERE}-{os.getpid() if pid is None else pid}")


def writer_lives(temporary: Path) -> bool | None:
    """Whether the process that writes a temporary file is still there; None where it was one of another machine."""
    here, _, pid = temporary.name.rpartition(".tmp-")[2].partition("-")
    if here != HERE or not pid.isdecimal():
        return None
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return bool(process_start(int(pid)))


def remove_leftovers(folder: Path, *, below: bool = True) -> None:
    """Remove the temporary files that killed writers left in a folder, and in those `below` it; what may still be written stays, and so do other programs' files."""
    for path in (folder.rglob if below else folder.glob)(".*.tmp-*"):
        with suppress(FileNotFoundError):
            if not NAME.search(path.name):
                continue
            lives = writer_lives(path)
            if not lives and (lives is False or time.time() - path.stat().st_mtime > LONGEST_WRITE):
                path.unlink()
