"""The base of every section, and how a field documents itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

NAME = r"^[a-z][a-z0-9_]*$"
"""Pattern of names that become folders: methods, recipes, variants."""


class Section(BaseModel):
    """Base of every section: frozen, keyword-only; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def setting(
    default: Any, doc: str, *, unit: str = "", source: str = "", read_if: Mapping[str, str] | None = None, **bounds: Any
) -> Any:
    """Make a documented field.

    Args:
        default: Value that is used when the key is absent.
        doc: What it does, in one line.
        unit: Unit of the value, e.g. "px"; empty for names and switches.
        source: Where the default comes from: a paper, a code base, or "ours".
        read_if: Values that other keys of the section must have for this one to be read at all (`as_read`).
        bounds: Legal range as pydantic constraints (ge, gt, le, lt, min_length, pattern).

    Returns:
        A pydantic field.
    """
    extra: dict[str, Any] = {"unit": unit, "source": source} | ({"read_if": dict(read_if)} if read_if else {})
    if isinstance(default, (list, dict)):
        return Field(default_factory=lambda: type(default)(default), description=doc, json_schema_extra=extra, **bounds)
    return Field(default, description=doc, json_schema_extra=extra, **bounds)
