"""The configuration as text: `dump_yaml` writes `config.yaml`, and what is said of each key (no torch)."""

from __future__ import annotations

import json
import re
from typing import get_args, get_origin

from pydantic.fields import FieldInfo

from wsss.settings.sections import Config, Section


def dump_yaml(config: Config | None = None) -> str:
    """`config.yaml`: every key with its default and, as a comment, meaning, unit, legal range and source."""
    head = "# The embedded run. Every key with its default; made by `wsss config` from wsss/settings/: edit those files, or lay a file over this one with --configfile.\n"
    if config is not None and config != Config():
        head = "# Every key as the given files set it, laid over the defaults; where the two differ the comment begins with the default.\n"
    return head + _dump(config or Config(), Config(), 0)


def _dump(section: Section, defaults: Section, depth: int) -> str:
    pad, out = "  " * depth, ""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            doc = (type(value).__doc__ or "").strip().splitlines()[0]
            out += (
                ("\n" if depth == 0 else "")
                + f"{pad}{name}: # {doc}\n"
                + _dump(value, getattr(defaults, name), depth + 1)
            )
        else:
            text, usual = (
                re.sub(r"\b(\d+)e-0?(\d+)", r"\1.0e-\2", json.dumps(v)) for v in (value, getattr(defaults, name))
            )
            out += f"{pad}{name}: {text} # {f'default {usual}; ' if text != usual else ''}{describe(field)}\n"
    return out


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
    low = high = ""
    for m in field.metadata:
        low = (
            f"{m.ge} ≤"
            if getattr(m, "ge", None) is not None
            else f"{m.gt} <"
            if getattr(m, "gt", None) is not None
            else low
        )
        high = (
            f"≤ {m.le}"
            if getattr(m, "le", None) is not None
            else f"< {m.lt}"
            if getattr(m, "lt", None) is not None
            else high
        )
    return f"{low} x {high}".strip() if low or high else ""
