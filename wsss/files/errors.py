"""The error that every reader of files raises (no torch)."""

from __future__ import annotations


class ArtefactError(ValueError):
    """A file that is missing, damaged or not what was expected. The message says which file and what to do."""
