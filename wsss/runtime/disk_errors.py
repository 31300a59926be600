"""Files that the system does not let be written (no torch)."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path


class UnwritableError(OSError):
    """A file that the system would not let be written; the message says which, why, and what to do."""


DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "it is on a file system that is mounted read-only",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EFBIG: "it is larger than files may be",
    errno.EIO: "the disk reports an error",
}
"""Why a file cannot be written, by the system's error number."""


def unwritable(path: Path, error: OSError) -> UnwritableError | None:
    """The error to raise where `path` could not be written; None if `error` is about something else."""
    reason = UNWRITABLE.get(error.errno or 0)
    if reason is None or isinstance(error, UnwritableError):
        return None
    if error.errno in DISK_FULL:
        folder = next(p for p in path.absolute().parents if p.is_dir())
        advice = f"{shutil.disk_usage(folder).free:,} bytes are free in {folder}; make room and start again: what is finished is kept"
    else:
        advice = "make it writable and start again"
    return UnwritableError(f"{path}: cannot be written: {reason}; {advice}")
