"""Values of settings from YAML, JSON and mappings: read, lay over each other, check against a model (no torch)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from wsss.files.limits import check_plain, regular
from wsss.settings.faults import ConfigError, explain, refused
from wsss.settings.yaml_checks import check_keys

M = TypeVar("M", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """One YAML mapping, safely loaded.

    Raises:
        ConfigError: If the file is missing, is no YAML or no mapping, or has a key twice.
    """
    try:
        if not path.is_fifo():  # the shell may give a pipe: @<(command)
            regular(path)
        text = path.read_text(encoding="utf-8")
        check_keys(text)
        value = yaml.safe_load(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, a key twice, numbers of many digits
        raise ConfigError(f"{path}: cannot be read: {str(error)[:200]}") from None
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a mapping of sections, found {type(value).__name__}")
    return value or {}


def refuse_double_keys(path: Path) -> None:
    """Check a configuration file that Snakemake has loaded: of a key that stands twice it takes the last in silence.

    Raises:
        ConfigError: If a key stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        check_keys("" if "__use_yte__" in text else text)  # in YTE's templates a condition may be a key twice
    except yaml.YAMLError:
        pass  # JSON that is no YAML, e.g. with tabs
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`: mappings deeply, everything else replaced. Neither is changed."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        out[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return out


def validate(model: type[M], values: Mapping[str, Any], *, where: str = "") -> M:
    """`values` as `model`. Types are strict: no "0.3" for 0.3, but 1 for 1.0.

    Raises:
        ConfigError: Names every fault.
    """
    try:
        check_plain(values)
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        faults = [explain(model, where, e) for e in error.errors()]
    except ValueError as error:
        faults = [f"{where}{'.' if where else ''}{error}"]
    raise refused(faults)


def settings(model: type[M], text: str) -> M:
    """Stage settings from JSON text, or from `@file.yaml`. Absent keys take their defaults."""
    if text.startswith("@"):
        return validate(model, read_yaml(Path(text[1:])), where="--settings")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--settings: not valid JSON ({str(error)[:200]}); give JSON text or @FILE.yaml") from None
    return validate(model, values, where="--settings")
