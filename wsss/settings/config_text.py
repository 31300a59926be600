"""The configuration as text: `dump_yaml` writes `config.yaml` and explains each key (no torch)."""

from __future__ import annotations

import json
import re
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from wsss.settings.sections import Config, Section

EMBEDDED = """\
# The embedded run. Every key with its default, made by `wsss config` from wsss/settings/.
# Edit those files, or lay a file over this one with --configfile.
"""
GIVEN = """\
# Every key as the given files set it. Where it differs from the default, the comment begins with the default.
"""


def dump_yaml(config: Config | None = None) -> str:
    """`config.yaml`: every key with its default and, as a comment, meaning, unit, legal range and source."""
    head = EMBEDDED if config is None or config == Config() else GIVEN
    return head + _dump(config or Config(), Config(), 0)


def _dump(section: Section, defaults: Section, depth: int) -> str:
    pad, out = "  " * depth, ""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            doc = (type(value).__doc__ or "").strip().splitlines()[0]
            out += "\n" if depth == 0 else ""
            out += f"{pad}{name}: # {doc}\n" + _dump(value, getattr(defaults, name), depth + 1)
        else:
            text, usual = _as_yaml(value), _as_yaml(getattr(defaults, name))
            default = f"default {usual}; " if text != usual else ""
            out += f"{pad}{name}: {text} # {default}{describe(field)}\n"
    return out


def _as_yaml(value: Any) -> str:
    """A value in one line; YAML takes 1e-05 for text, but not 1.0e-5."""
    return re.sub(r"\b(\d+)e-0?(\d+)", r"\1.0e-\2", json.dumps(value))


def describe(field: FieldInfo) -> str:
    """Meaning; unit; legal values; source."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    parts = [
        field.description or "",
        str(extra.get("unit") or ""),
        legal(field),
        f"source: {extra['source']}" if extra.get("source") else "",
    ]
    return "; ".join(p for p in parts if p)


def legal(field: FieldInfo) -> str:
    """Legal range or choices of a field, as text."""
    if get_origin(field.annotation) is not None and type(None) not in get_args(field.annotation):
        choices = get_args(field.annotation)
        if choices and not isinstance(choices[0], type) and get_origin(choices[0]) is None:
            return "one of " + ", ".join(str(c) for c in choices)
    if field.annotation is bool:
        return "true or false"
    bounds = {name: getattr(m, name) for m in field.metadata for name in ("ge", "gt", "le", "lt") if hasattr(m, name)}
    low = f"{bounds['ge']} ≤" if "ge" in bounds else f"{bounds['gt']} <" if "gt" in bounds else ""
    high = f"≤ {bounds['le']}" if "le" in bounds else f"< {bounds['lt']}" if "lt" in bounds else ""
    return f"{low} x {high}".strip() if low or high else ""
