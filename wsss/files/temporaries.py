"""Temporary files: their names say which process writes them, so that what a killed process left can be removed.

A file that a living process writes stays (no torch).
"""

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
"""This machine, as temporary names spell it: a process number means nothing on another machine."""
NAME = re.compile(r"\.tmp-[0-9a-f]{8}-\d+$")
LONGEST_NAME = 220
"""Bytes of a file name that its temporary name repeats; a longer name is digested. File systems allow 255 bytes."""
LONGEST_WRITE = 86_400
"""Seconds after which a temporary file of another machine counts as left behind."""


def temporary_of(path: Path, *, pid: int | None = None) -> Path:
    """The hidden name, in the same folder, under which a process writes a file until it is whole.

    Args:
        path: The file's final name.
        pid: The process, on this machine; None: this one.
    """
    name = path.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()
    return path.with_name(f".{name}.tmp-{HERE}-{os.getpid() if pid is None else pid}")


def writer_lives(temporary: Path) -> bool | None:
    """Whether the process that writes a temporary file is still running; None if it belongs to another machine."""
    here, _, pid = temporary.name.rpartition(".tmp-")[2].partition("-")
    if here != HERE or not pid.isdecimal():
        return None
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's process
        return True
    return bool(process_start(int(pid)))


def remove_leftovers(folder: Path, *, below: bool = True) -> None:
    """Remove the temporary files that killed processes left. Files of living processes and other programs stay.

    Args:
        folder: Where to look.
        below: Look in the folders below it, too.
    """
    for path in (folder.rglob if below else folder.glob)(".*.tmp-*"):
        with suppress(FileNotFoundError):
            if not NAME.search(path.name):
                continue
            lives = writer_lives(path)
            if lives is False or (lives is None and time.time() - path.stat().st_mtime > LONGEST_WRITE):
                path.unlink()
