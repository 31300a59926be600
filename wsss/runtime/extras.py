"""Packages that only some configurations and commands need, by the name of their extra in pyproject.toml."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

EXTRAS: dict[str, tuple[str, ...]] = {
    "instances": ("higra",),
    "saliency": ("onnxruntime",),
    "export": ("onnx", "onnxscript"),
}
"""Packages as they are imported, by extra."""


class MissingExtraError(ValueError):
    """A package of an extra is not installed; the message names the extra and the command that installs it."""


def require(extra: str, *, reason: str) -> None:
    """Stop if a package of an extra is not installed. Nothing is imported.

    Args:
        extra: A key of `EXTRAS`.
        reason: What needs it, e.g. a key of the configuration with its value.

    Raises:
        MissingExtraError: With the command that installs it.
    """
    if missing := [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]:
        raise MissingExtraError(
            f"{reason} needs {' and '.join(missing)}, not installed here: pip install 'wsss[{extra}]'"
        )


def absent(needs: Iterable[tuple[str, str]]) -> list[str]:
    """The messages of `require` for each (extra, reason) whose packages are not installed."""
    faults = []
    for extra, reason in needs:
        try:
            require(extra, reason=reason)
        except MissingExtraError as error:
            faults.append(str(error))
    return faults
