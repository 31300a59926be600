"""What of a section is read: a change of the rest must not rerun anything (no torch)."""

from __future__ import annotations

from typing import Any, TypeVar

from wsss.settings import sections
from wsss.settings.base import Section
from wsss.settings.dataset import KindSection

S = TypeVar("S", bound=Section)


def as_read(section: S) -> S:
    """A section with the defaults in place of what its own choices leave unread, at any depth: a change of that must not rerun anything."""
    update: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        conditions = extra.get("read_if")
        if isinstance(value, Section):
            update[name] = as_read(value)
        elif isinstance(conditions, dict) and any(
            getattr(section, key) != wanted for key, wanted in conditions.items()
        ):
            update[name] = field.get_default(call_default_factory=True)
    return section.model_copy(update=update)


def relevant(section: Section) -> dict[str, Any]:
    """A section without the subsections its `kind` does not choose, and without what cannot change results (compute.device, compute.workers)."""
    out = {}
    kind = getattr(section, "kind", None)
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            others = (
                kind is not None
                and isinstance(section, KindSection)
                and name != kind
            )
            if not others:
                out[name] = relevant(value)
        elif name == "custom" and isinstance(section, KindSection):
            out |= {name: {section.kind: value[section.kind]}} if section.kind in value else {}
        elif not (isinstance(section, sections.ComputeSection) and name in ("device", "workers")):
            out[name] = value
    return out
