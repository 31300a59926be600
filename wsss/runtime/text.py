"""How messages show values and texts from files (no torch)."""

from __future__ import annotations

import re
import reprlib
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def short(value: Any) -> str:
    """Quote a value in at most 80 characters, however large or deep it is."""
    text = _SHORT.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def printable(text: str) -> str:
    """Spell out control characters except line breaks and tabs: text from a file must not control a terminal."""
    return _CONTROL.sub(lambda m: m[0].encode("unicode_escape").decode(), text)
