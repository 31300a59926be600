"""What every section is made of, and when each of its keys is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

NAME = r"^[a-z][a-z0-9_]*$"
"""Pattern of names that become folders: methods, recipes, variants."""


class Section(BaseModel):
    """Base of every section: frozen, keyword-only; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """When a key is read. A change of a key that is not read reruns nothing (`wsss.settings.reading`).

    Attributes:
        read_if: Other keys of the section and what they must be.
        read_by: Stages that read the key; None: every stage that is given the section.
        from_round: First round that reads the key.
        read_key: Another key. Of this one, a mapping, only the entry that the other names is read.
    """

    read_if: Mapping[str, Any] = field(default_factory=dict)
    read_by: Sequence[str] | None = None
    from_round: int = 1
    read_key: str = ""


def setting(
    default: Any,
    doc: str = "",
    *,
    unit: str = "",
    source: str = "",
    read_if: Mapping[str, Any] | None = None,
    read_by: Sequence[str] | None = None,
    from_round: int = 1,
    read_key: str = "",
    **bounds: Any,
) -> Any:
    """A documented field, or a subsection that is not always read.

    Args:
        default: The value used when the key is absent.
        doc: What it does, in one line. A subsection has its class's docstring.
        unit: Unit of the value, e.g. "px". Empty for names and switches.
        source: Where the default comes from: a paper, a code base, or "ours".
        read_if: Other keys of the section and what they must be for this one to be read.
        read_by: Stages that read it. Absent: every stage that is given the section.
        from_round: First round that reads it.
        read_key: Another key that names the only entry of this mapping that is read.
        bounds: Legal range as pydantic constraints (ge, gt, le, lt, min_length, pattern).

    Returns:
        A pydantic field.
    """
    extra: dict[str, Any] = {"unit": unit, "source": source}
    if read_if:
        extra["read_if"] = dict(read_if)
    if read_by is not None:
        extra["read_by"] = list(read_by)
    if from_round > 1:
        extra["from_round"] = from_round
    if read_key:
        extra["read_key"] = read_key
    if isinstance(default, (list, dict)):
        return Field(default_factory=lambda: type(default)(default), description=doc, json_schema_extra=extra, **bounds)
    return Field(default, description=doc, json_schema_extra=extra, **bounds)


def reading_of(section: type[BaseModel], key: str) -> Reading:
    """When a key of a section is read: as its `setting` says, else always."""
    extra = section.model_fields[key].json_schema_extra
    marks: dict[str, Any] = extra if isinstance(extra, dict) else {}
    return Reading(**{name: marks[name] for name in ("read_if", "read_by", "from_round", "read_key") if name in marks})
