"""What class names may be, and how two spellings of one are found (no torch of its own)."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable

from wsss.files.limits import CONTROL, MOST_NAME
from wsss.files.mask_values import MOST_CLASSES
from wsss.runtime.console import warn
from wsss.runtime.text import nearest
from wsss.stages.dataset.faults import Faults
from wsss.stages.dataset.source import SourceRow

CORRECT = "correct it, or list the classes under dataset.folder.classes"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'aeroplane'?`, the end of a message; "" if no known name is similar."""
    hint = nearest(name, known, listed=False)
    return f"; {hint}" if hint else ""


def check_names(names: list[str], faults: Faults, *, where: str) -> None:
    """Refuse class names that are repeated or cannot be stored.

    Args:
        names: Foreground classes, ids 1..C.
        faults: Receives what is wrong.
        where: Where the names come from.
    """
    if not names:
        faults.add("class", f"{where}: no class names; at least one is needed")
    if len(names) > MOST_CLASSES:
        faults.add("class", f"{where}: {len(names)} classes, at most {MOST_CLASSES} fit into an 8-bit mask")
        return
    counts = Counter(names)
    for name in counts:
        if wrong := _name_fault(name, count=counts[name]):
            faults.add("class", f"{where}: class name {name!r} {wrong}")


def _name_fault(name: str, *, count: int) -> str:
    """What is wrong with a class name, or ""; `count`: how often it occurs."""
    if name.casefold() == "background":
        return "is reserved for id 0"
    if not name or name != name.strip():
        return "is empty or has blanks around it"
    if set(name) & set(",;\r\n"):
        return "holds a comma, semicolon or line break: names in a cell are joined by ';'"
    if CONTROL.search(name):
        return "holds a control character"
    if len(name) > MOST_NAME:
        return f"has {len(name)} characters, at most {MOST_NAME} are taken"
    return f"occurs {count} times" if count > 1 else ""


def check_similar(rows: list[SourceRow], names: list[str], faults: Faults, *, where: str) -> None:
    """Look for two spellings of one class among names that come from the labels alone.

    If a name is on one row only and looks like a name on several, that row has a fault. Two other names that look
    alike give a warning: cat and cats may both be meant.

    Args:
        rows: All images.
        names: Foreground classes.
        faults: Receives what is wrong.
        where: Where the names come from.
    """
    if len(names) > MOST_CLASSES:  # a fault already
        return
    found: dict[str, list[SourceRow]] = {n: [] for n in names}
    for row in rows:
        for label in row.labels:
            found.get(label, []).append(row)  # labels that are no names are faults already
    for k, name in enumerate(names):
        other = next((n for n in names[:k] if _alike(n.casefold(), name.casefold())), None)
        if other is None:
            continue
        rare, common = sorted((name, other), key=lambda n: len(found[n]))
        if len(found[rare]) == 1 and len(found[common]) > 1:
            looks = f"class {rare!r} is on this row alone and looks like {common!r} ({len(found[common])} rows)"
            faults.add("class", f"{found[rare][0].where}: {looks}; {CORRECT}")
        else:
            warn("%s: classes %r and %r look alike; if one is misspelt, %s", where, other, name, CORRECT)


def _alike(a: str, b: str) -> bool:
    """Whether two class names may be one, misspelt: much in common, or the same letters in another order."""
    if max(len(a), len(b)) > MOST_NAME:
        return False
    return difflib.SequenceMatcher(None, a, b).ratio() >= 0.85 or sorted(a) == sorted(b)
