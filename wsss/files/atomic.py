"""Files that are written whole or not at all (no torch)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsss.files.temporaries import temporary_of
from wsss.runtime.disk_errors import unwritable


@contextmanager
def atomic(path: Path, *, flushed: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder. It becomes `path` if the block ends well; else it is removed.

    Args:
        path: The file.
        flushed: Flush the file to disk before the rename: then `path` is whole or absent even after a power cut.
            Leave it out for each of thousands of images: the list that is written after them is flushed.

    Raises:
        UnwritableError: If the disk is full or the place is not writable. What was at `path` stays as it was.
    """
    temporary = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if flushed:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if flushed:
            _flush_folder(path.parent)
    except OSError as error:
        # an error about another file, e.g. one that the block reads, is not about this one
        about_this = error.filename is None or Path(os.fsdecode(error.filename)) in (temporary, path, *path.parents)
        if about_this and (clear := unwritable(path, error)):
            raise clear from None
        raise
    finally:
        with suppress(OSError):  # a read-only disk refuses even this
            temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
