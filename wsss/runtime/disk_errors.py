"""Clear messages for files that cannot be written (no torch)."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path


class UnwritableError(OSError):
    """A file that cannot be written. The message says which file, why, and what to do."""


DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
REASONS = {
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
    """The error to raise if `path` could not be written; None if `error` has another reason."""
    reason = REASONS.get(error.errno or 0)
    if reason is None or isinstance(error, UnwritableError):
        return None
    advice = "make it writable and start again"
    if error.errno in DISK_FULL:
        folder = next(p for p in path.absolute().parents if p.is_dir())
        free = f"{shutil.disk_usage(folder).free:,} bytes are free in {folder}"
        advice = f"{free}; make room and start again: what is finished is kept"
    return UnwritableError(f"{path}: cannot be written: {reason}; {advice}")
