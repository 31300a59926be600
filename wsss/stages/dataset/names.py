"""What class names may be, and two spellings of one (no torch of its own)."""

from __future__ import annotations

import difflib
from collections import Counter

from wsss.files.limits import CONTROL, MOST_NAME
from wsss.runtime.console import warn
from wsss.stages.dataset.checks import MOST_CLASSES, Faults, SourceRow


def check_names(names: list[str], faults: Faults, *, where: str) -> None:
    """Refuse class names that cannot be told apart or stored.

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
    faults_of = {n: f"occurs {k} times" for n, k in Counter(names).items() if k > 1}
    faults_of |= {n: f"has {len(n)} characters, at most {MOST_NAME} are taken" for n in names if len(n) > MOST_NAME}
    faults_of |= {n: "holds a control character" for n in names if CONTROL.search(n)}
    faults_of |= {
        n: "holds a comma, semicolon or line break: names in a cell are joined by ';'"
        for n in names
        if set(n) & set(",;\r\n")
    }
    faults_of |= {n: "is empty or has blanks around it" for n in names if not n or n != n.strip()}
    faults_of |= {n: "is reserved for id 0" for n in names if n.casefold() == "background"}
    for name, text in faults_of.items():
        faults.add("class", f"{where}: class name {name!r} {text}")


def check_similar(rows: list[SourceRow], names: list[str], faults: Faults, *, where: str) -> None:
    """Look for two spellings of one class among names that come from the labels alone.

    A name on one row only, much like a name on several, is a fault of that row. Two names that look alike otherwise are a warning: cat and cats may both be meant.

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
            found.get(label, []).append(row)  # names that are no names are faults already
    for k, name in enumerate(names):
        if (other := next((n for n in names[:k] if _alike(n.casefold(), name.casefold())), None)) is None:
            continue
        rare, common = sorted((name, other), key=lambda n: len(found[n]))
        if len(found[rare]) == 1 and len(found[common]) > 1:
            faults.add(
                "class",
                f"{found[rare][0].where}: class {rare!r} is on this row alone and looks like {common!r} ({len(found[common])} rows); "
                "correct it, or list the classes under dataset.folder.classes",
            )
        else:
            warn(
                "%s: classes %r and %r look alike; if one is misspelt, correct it, or list the classes under dataset.folder.classes",
                where,
                other,
                name,
            )


def _alike(a: str, b: str) -> bool:
    """Whether two class names may be one, misspelt: much in common, or the same letters in another order."""
    if max(len(a), len(b)) > MOST_NAME:
        return False
    return difflib.SequenceMatcher(None, a, b).ratio() >= 0.85 or sorted(a) == sorted(b)
