"""Faults of a configuration, in words (no torch)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from wsss.runtime.text import nearest, short

LISTED = 20
"""Faults that one message names; it counts the rest."""
RENAMED = {"dataset.folder.tags": "labels"}
"""Keys of earlier versions, and their names now."""


class ConfigError(ValueError):
    """A configuration that cannot be run. The message lists every fault."""


def refused(faults: list[str]) -> ConfigError:
    """The error that names the first faults and counts the rest."""
    lines = [f"  {fault if len(fault) <= 600 else fault[:400] + ' [...] ' + fault[-200:]}" for fault in faults[:LISTED]]
    more = [f"  ... and {len(faults) - LISTED} more"] if len(faults) > LISTED else []
    return ConfigError("\n".join(["configuration refused:", *lines, *more]))


def explain(model: type[BaseModel], where: str, error: Any) -> str:
    """One pydantic error as "key: found …; expected …"."""
    path = [str(p) for p in error["loc"]]
    key = ".".join([where, *path] if where else path) or where or "configuration"
    if error["type"] == "extra_forbidden":
        if new := RENAMED.get(".".join(path)):
            return f"{key}: this key is now `{new}`; rename it"
        return f"{key}: unknown key; {nearest(path[-1], _keys_at(model, path[:-1]))}"
    message = error["msg"].removeprefix("Value error, ")
    found = "" if isinstance(error["input"], dict) else f"found {short(error['input'])}; "
    return f"{key}: {found}{message[0].lower() + message[1:]}{_number_hint(error['input'])}"


def _number_hint(value: Any) -> str:
    """What to write instead of a number that YAML has read as text, such as 1e-5."""
    try:
        float(value if isinstance(value, str) else "")
    except ValueError:
        return ""
    return "; YAML reads it as text: leave out quotes, and write a dot before an exponent (1.0e-5)"


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    """Known keys of the section at `path`."""
    for part in path:
        field = model.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return []
        model = field.annotation
    return list(model.model_fields)
