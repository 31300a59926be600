"""Values and foreign text as messages show them (no torch)."""

from __future__ import annotations

import re
import reprlib
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def short(value: Any) -> str:
    """A value as messages quote it: at most 80 characters, however large or deep it is."""
    text = _SHORT.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def printable(text: str) -> str:
    """The text with control characters spelt out, line breaks and tabs left: what a file says must not steer a terminal."""
    return re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", lambda m: m[0].encode("unicode_escape").decode(), text)
