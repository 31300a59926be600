"""Which keys of a section are read. A change of any other key reruns nothing (no torch).

Each field says this of itself (`read_if`, `read_by`, `from_round` and `read_key` of `wsss.settings.base.setting`).
"""

from __future__ import annotations

from typing import Any, TypeVar

from wsss.settings.base import Section, reading_of
from wsss.settings.sections import Config

S = TypeVar("S", bound=Section)


def is_read(section: Section, key: str, *, stage: str = "", round: int = 0) -> bool:
    """Whether a key is read.

    Args:
        section: The section with all its choices.
        key: One of its keys.
        stage: The stage that reads. Empty: any stage.
        round: The round that reads. 0: any round.
    """
    reading = reading_of(type(section), key)
    if any(getattr(section, other) != wanted for other, wanted in reading.read_if.items()):
        return False
    if reading.read_by is not None and (stage not in reading.read_by if stage else not reading.read_by):
        return False
    return not round or round >= reading.from_round


def read_value(section: Section, key: str) -> Any:
    """What of a key's value is read: of some mappings only one entry."""
    value, name = getattr(section, key), reading_of(type(section), key).read_key
    return {k: v for k, v in value.items() if k == getattr(section, name)} if name else value


def as_read(section: S, *, stage: str = "", round: int = 0) -> S:
    """The section with the default in place of every key that is not read, at any depth (arguments as `is_read`)."""
    update: dict[str, Any] = {}
    for key, field in type(section).model_fields.items():
        value = read_value(section, key)
        if not is_read(section, key, stage=stage, round=round):
            update[key] = field.get_default(call_default_factory=True)
        elif value != getattr(section, key):
            update[key] = value
        elif isinstance(value, Section):
            update[key] = as_read(value, stage=stage, round=round)
    return section.model_copy(update=update)


def only_read(section: Section, *, stage: str = "", round: int = 0) -> dict[str, Any]:
    """The section as plain values, without the keys that are not read (arguments as `is_read`)."""
    out: dict[str, Any] = {}
    for key in type(section).model_fields:
        value = read_value(section, key)
        if is_read(section, key, stage=stage, round=round):
            is_section = isinstance(value, Section)
            out[key] = only_read(value, stage=stage, round=round) if is_section else value
    return out


def run_settings(config: Config) -> dict[str, Any]:
    """What the report and the table of metrics depend on: the configuration without what no result depends on.

    Choices count in the data set alone. In other sections a recipe may choose what the section itself does not read.
    """
    return {**_without_unread(config), "dataset": only_read(config.dataset)}


def _without_unread(section: Section) -> dict[str, Any]:
    """The section as plain values, without the keys that no stage reads."""
    out: dict[str, Any] = {}
    for key in type(section).model_fields:
        value = getattr(section, key)
        if reading_of(type(section), key).read_by != []:
            out[key] = _without_unread(value) if isinstance(value, Section) else value
    return out
