"""The settings of a run beside their defaults (no torch)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from wsss.settings.config_text import describe
from wsss.settings.sections import Config


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One configuration value beside its default, as text, and what it means."""

    key: str
    value: str
    default: str
    meaning: str

    @property
    def changed(self) -> bool:
        """Whether it differs from the default."""
        return self.value != self.default


def list_settings(config: Mapping[str, Any]) -> list[Setting]:
    """Every value of a configuration, those that differ from their default first.

    Args:
        config: The settings that a run reads, by section (`run_settings`).
    """
    found = list(_walk(Config, config, Config().model_dump(mode="json"), ""))
    return sorted(found, key=lambda s: not s.changed)


def _walk(model: type[BaseModel] | None, values: Mapping[str, Any], defaults: Any, prefix: str) -> Iterable[Setting]:
    """The values below a key, depth first; `model` is None where keys are free, as in recipes."""
    for key, value in values.items():
        info = model.model_fields.get(key) if model else None
        kind = info.annotation if info is not None else None
        default = defaults.get(key) if isinstance(defaults, Mapping) else None
        if isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, Mapping):
            yield from _walk(kind, value, default, f"{prefix}{key}.")
        else:
            meaning = describe(info) if info is not None else ""
            yield Setting(key=prefix + key, value=_plain(value), default=_plain(default), meaning=meaning)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
