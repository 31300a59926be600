"""Load the configuration (no torch).

`load` takes the mapping that Snakemake has merged, or files. It returns a frozen `Config`, or raises one `ConfigError`
that names every wrong key, what was found and what is legal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsss.settings.cross_checks import cross_faults
from wsss.settings.faults import refused
from wsss.settings.sections import Config
from wsss.settings.values import merge, read_yaml, validate


def load(*sources: Mapping[str, Any] | Path) -> Config:
    """Lay `sources` over each other and check the result.

    Args:
        sources: Mappings or YAML files; later ones win. Mappings merge deeply, lists are replaced whole.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: For unknown keys, wrong types, values out of range, and names that do not fit together.
    """
    merged: dict[str, Any] = {}
    for source in sources:
        merged = merge(merged, read_yaml(source) if isinstance(source, Path) else source)
    config = validate(Config, merged)
    if faults := cross_faults(config):
        raise refused(faults)
    return config
