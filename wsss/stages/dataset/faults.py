"""The faults of a data set: all are gathered, then reported in one message (no torch)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from wsss.runtime.text import printable

LISTED = 20
"""Faults of one kind that are named. The others are counted."""
LONGEST = 600
"""Most characters of a fault's line."""
Text = str | Callable[[], str]
"""The text of a fault, or the function that makes it."""


class DataError(ValueError):
    """A data set that cannot be used. The message lists every fault."""


class Faults:
    """Gathers faults by kind, in order of appearance: the first LISTED of a kind as texts, the others as a number."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = defaultdict(list)
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, kind: str, text: Text) -> None:
        """Remember one fault.

        Args:
            kind: Group for the limit on what is listed, e.g. "image".
            text: Place, found, expected, what to do. A function that makes it is called only if it is listed.
        """
        self._counts[kind] += 1
        if len(self._texts[kind]) < LISTED:
            self._texts[kind].append(_clipped(text if isinstance(text, str) else text()))

    def stop(self, source: str) -> None:
        """Raise if there is any fault.

        Args:
            source: What was read, e.g. the CSV's path. It begins the message.

        Raises:
            DataError: With every kind of fault, each up to 20 times and then a count.
        """
        if not self._texts:
            return
        lines = [f"{source}: {len(self)} fault{'s' * (len(self) > 1)} in the data set; nothing was written"]
        for kind, texts in self._texts.items():
            lines += [f"  {text}" for text in texts]
            if self._counts[kind] > LISTED:
                lines.append(f"  ... and {self._counts[kind] - LISTED} more of this kind ({kind})")
        raise DataError("\n".join(lines))


def _clipped(text: str) -> str:
    """One line of a message. What a file holds may be long and have line breaks."""
    text = printable(text).replace("\n", "\\n").replace("\t", "\\t")
    return text if len(text) <= LONGEST else f"{text[: LONGEST * 2 // 3]} [...] {text[-LONGEST // 3 :]}"
