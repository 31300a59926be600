"""Which paths of a data set may be read, and what is in its folders (no torch)."""

from __future__ import annotations

import os
from pathlib import Path

from wsss.files.limits import CONTROL


def path_fault(text: str, root: Path) -> str:
    """Why `text` may not be used as a path under `root`, or "".

    Args:
        text: Path as the source spells it. It must be relative and stay inside, links followed.
        root: Folder that holds the data.
    """
    if CONTROL.search(text):
        return f"path {text!r} holds a control character; rename the file"
    path = Path(text)
    if path.is_absolute() or ".." in path.parts:
        return f"path {text!r} leaves the folder {root}; paths must be relative to it, without '..'"
    try:
        target = (root / path).resolve()
    except (OSError, RuntimeError) as error:  # links in a circle, names that are too long
        return f"path {text!r} leads nowhere ({str(error)[:100]})"
    if not target.is_relative_to(root.resolve()):
        return f"path {text!r} is a link out of the folder {root}, to {target}; put the file inside"
    return ""


def link_fault(path: Path, setting: str = "") -> str:
    """Why a file may not be read because it is a link out of its folder, or "". The folder itself may be a link.

    Args:
        path: The file.
        setting: How the configuration names it. An absolute path there is the user's own choice, and allowed.
    """
    if not path.is_symlink() or Path(setting).is_absolute():
        return ""
    wrong = path_fault(path.name, path.parent)
    return f"{wrong}, or give its absolute path" if wrong and setting else wrong


def file_names(folder: Path) -> set[str]:
    """Names in a folder, listed once: to ask for 10,000 files one by one is slow on a network disk."""
    return set(os.listdir(folder)) if folder.is_dir() else set()
