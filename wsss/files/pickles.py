"""What a pickle would do, found out without doing it. A pickle is a program; `check_pickle` reads its steps, and refuses all but those that build plain data (no torch).

Python's and torch's own readers then run what was allowed. They are not enough by themselves: twelve bytes make them reserve 32 GB, and a key of a million nested tuples overflows their stack.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Collection

from wsss.files.limits import MOST_PICKLE_DEPTH, MOST_PICKLE_STEPS

_ATOMS = frozenset(
    [
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
        "EMPTY_LIST",
        "EMPTY_DICT",
        "EMPTY_TUPLE",
    ]
)
_TEXTS = frozenset(["UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"])
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = frozenset(["PUT", "BINPUT", "LONG_BINPUT"])
_GETS = frozenset(["GET", "BINGET", "LONG_BINGET"])
_NAME = -1
"""On the stack: a function or class that was asked for."""
_IGNORED = frozenset(["PROTO", "FRAME", "READONLY_BUFFER"])


class PickleError(ValueError):
    """A pickle that does more than build plain data, or is damaged."""


def check_pickle(data: bytes, *, names: Collection[tuple[str, str]], references: bool = False) -> int:
    """Follow a pickle's steps on paper.

    Args:
        data: The pickle, to its end; what follows it is not looked at.
        names: (module, name) of the functions and classes it may ask for.
        references: Whether it may refer to objects outside it, as torch's archives do to their tensors' bytes.

    Returns:
        Where it ends.

    Raises:
        PickleError: For any other name or step, places in its memory that it does not need, deeply nested tuples, keys that are tuples, and damage.
    """
    steps = _Steps(names, references=references)
    file = io.BytesIO(data)
    try:
        for number, (operation, argument, _) in enumerate(pickletools.genops(file)):
            if number > MOST_PICKLE_STEPS:
                raise PickleError(f"takes more than {MOST_PICKLE_STEPS:,} steps, refused")
            steps.take(operation.name, argument)
        return file.tell()
    except PickleError:
        raise
    except Exception as error:  # genops raises what it likes on damaged bytes
        raise PickleError(f"is no whole pickle ({str(error)[:100] or type(error).__name__})") from None


class _Steps:
    """The stack as texts (which later steps may use as names) and depths of tuples; None is a mark."""

    def __init__(self, names: Collection[tuple[str, str]], *, references: bool) -> None:
        self.names, self.references = names, references
        self.stack: list[str | int | None] = []
        self.memory: dict[int, str | int] = {}

    def take(self, step: str, argument: object) -> None:
        """One step."""
        if step in _ATOMS:
            self.stack.append(0)
        elif step in _TEXTS:
            self.stack.append(str(argument))
        elif step in _PUTS or step == "MEMOIZE":
            self._remember(len(self.memory) if step == "MEMOIZE" else int(argument))  # type: ignore[call-overload]
        elif step in _GETS:
            self.stack.append(self.memory[int(argument)])  # type: ignore[call-overload]
        elif step == "MARK":
            self.stack.append(None)
        elif step in ("TUPLE", *_TUPLES):
            self._tuple(self._since_mark() if step == "TUPLE" else [self._pop() for _ in range(_TUPLES[step])])
        elif step in ("GLOBAL", "STACK_GLOBAL"):
            self._name(step, argument)
        elif step not in _IGNORED:
            self._gather(step)

    def _gather(self, step: str) -> None:
        """The steps that put what lies on the stack into something."""
        if step in ("LIST", "DICT"):
            parts = self._since_mark()
            self._keys(parts[::2] if step == "DICT" else [])
            self.stack.append(0)
        elif step in ("APPEND", "BUILD"):
            self._pop()
            if self.stack[-1] == _NAME:  # a function or class of this process is not the file's to change
                raise PickleError("gives a function or class a state, refused: only plain data is read")
        elif step in ("APPENDS", "SETITEMS"):
            parts = self._since_mark()
            self._keys(parts[::2] if step == "SETITEMS" else [])
        elif step == "SETITEM":
            self._pop()
            self._keys([self._pop()])
        elif step == "REDUCE":
            self._pop()
            if self._pop() != _NAME:
                raise PickleError("calls what is no function, refused")
            self.stack.append(0)
        elif step == "BINPERSID" and self.references:
            self._pop()
            self.stack.append(0)
        elif step in ("POP", "STOP"):
            self._pop()
        else:
            raise PickleError(f"takes the step {step}, refused: only plain data is read")

    def _name(self, step: str, argument: object) -> None:
        if step == "STACK_GLOBAL":
            name, module = self._pop(), self._pop()
        else:
            module, _, name = str(argument).partition(" ")
        if (module, name) not in self.names:
            raise PickleError(f"asks for {str(module)[:60]}.{str(name)[:60]}, refused")
        self.stack.append(_NAME)

    def _tuple(self, parts: list[str | int]) -> None:
        depth = 1 + max((p for p in parts if isinstance(p, int)), default=0)
        if depth > MOST_PICKLE_DEPTH:
            raise PickleError(f"holds tuples more than {MOST_PICKLE_DEPTH} deep, refused")
        self.stack.append(depth)

    def _keys(self, keys: list[str | int]) -> None:
        if any(isinstance(k, int) and k > 0 for k in keys):
            raise PickleError("holds a dict whose keys are tuples, refused: expected texts or numbers")

    def _remember(self, place: int) -> None:
        if place > len(self.memory) + 1:
            raise PickleError(f"wants place {place} of a memory that holds {len(self.memory)}, refused")
        top = self.stack[-1]
        if top is not None:
            self.memory[place] = top

    def _pop(self) -> str | int:
        top = self.stack.pop()
        if top is None:
            raise PickleError("is no whole pickle (a mark is left over)")
        return top

    def _since_mark(self) -> list[str | int]:
        parts: list[str | int] = []
        while (top := self.stack.pop()) is not None:
            parts.append(top)
        return parts[::-1]
