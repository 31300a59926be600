"""How messages show values and texts from files (no torch)."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
MOST_COMPARED = 100
"""Characters of a name that are compared with those that are known: comparing takes quadratic time."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def short(value: Any) -> str:
    """Quote a value in at most 80 characters, however large or deep it is."""
    text = _SHORT.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def printable(text: str) -> str:
    """The text with control characters spelt out, except line breaks and tabs: no file's text may steer a terminal."""
    return _CONTROL.sub(lambda m: m[0].encode("unicode_escape").decode(), text)


def nearest(name: str, known: Iterable[str], *, listed: bool = True) -> str:
    """`did you mean 'aeroplane'?` for the most similar known name, whatever its capitals.

    Args:
        name: What was found.
        known: What is legal.
        listed: If none is similar, name all that are known: `known: cam, eps`; otherwise say nothing ("").
    """
    folded = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(name[:MOST_COMPARED].strip().casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    return f"known: {', '.join(folded.values()) or 'none'}" if listed else ""
