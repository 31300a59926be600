"""All bad inputs, each written by code when it is needed."""

from __future__ import annotations

from . import artefacts, configurations, images, networks, outlines, stored_maps, tables
from .attempt import Case

CASES: list[Case] = [
    *tables.cases(),
    *images.cases(),
    *outlines.cases(),
    *stored_maps.cases(),
    *networks.cases(),
    *artefacts.cases(),
    *configurations.cases(),
]


def by_kind() -> dict[str, list[Case]]:
    """The cases of each kind."""
    found: dict[str, list[Case]] = {}
    for case in CASES:
        found.setdefault(case.kind, []).append(case)
    return found
