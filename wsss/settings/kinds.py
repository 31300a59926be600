"""Kinds of data sets, of saliency and of mask proposals (no torch).

A kind of this package is: its module, one entry here, and its section of settings, named as the kind, in
`wsss/settings/dataset.py` or `wsss/settings/instances.py`. Another package adds a data set or a saliency by an entry
point (docs/NEW_KIND.md); no file of this one changes.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, get_args

from wsss.settings.base import NAME

Level = Literal["none", "pixels", "given"]
DATASET_GROUP, SALIENCY_GROUP = "wsss.datasets", "wsss.saliency"
"""Groups of entry points: `name = module:class` of a Source, and `name = module:object`, a SaliencyKind."""
TAKEN = ("kind", "custom")
"""Keys beside the kinds' sections, which no kind may be named after."""


@dataclass(frozen=True, kw_only=True)
class SaliencyKind:
    """What rules and the report know of a kind of saliency; neither imports its module.

    Attributes:
        place: `module:class`, the class a `wsss.stages.saliency.estimator.Estimator`. Empty: no maps are made.
        level: What trained it: "none" nothing, "pixels" pixel masks, "given" unknown, because users give the maps.
        supervision: What trained it, in a sentence. The report shows it.
        folder: Key of its settings that names a folder of given maps. Empty: it reads none.
        extra: Extra of this package that it needs, a key of `wsss.runtime.extras.EXTRAS`. Empty: none.
    """

    place: str
    level: Level
    supervision: str
    folder: str = ""
    extra: str = ""

    def __post_init__(self) -> None:
        if self.level not in get_args(Level) or not self.supervision.strip():
            raise ValueError(
                f"saliency kind at {self.place}: found level {self.level!r} and supervision {self.supervision!r}; "
                f"expected one of {', '.join(get_args(Level))}, and a sentence on what trained it"
            )


@dataclass(frozen=True, kw_only=True)
class ProposalKind:
    """What rules and the report know of a kind of mask proposals; neither imports its module.

    Attributes:
        place: `module:class`, the class a `wsss.stages.instances.proposer.Proposer`.
        level: What trained it: as of `SaliencyKind`, or "truth": it reads true instances.
        supervision: What trained it, in a sentence. The report shows it.
        folder: Key of its settings that names a folder of given proposals. Empty: it reads none.
        extra: Extra of this package that it needs, a key of `wsss.runtime.extras.EXTRAS`. Empty: none.
    """

    place: str
    level: Literal["none", "pixels", "given", "truth"]
    supervision: str
    folder: str = ""
    extra: str = ""


DATASETS = {
    "scenes": "wsss.stages.dataset.scenes:ScenesSource",
    "voc": "wsss.stages.dataset.voc:VocSource",
    "folder": "wsss.stages.dataset.folder:FolderSource",
    "coco": "wsss.stages.dataset.coco:CocoSource",
}
"""Kind of data set to `module:class`, the class a `wsss.stages.dataset.source.Source`."""
SALIENCY = {
    "barrier": SaliencyKind(
        place="wsss.stages.saliency.barrier:Barrier",
        level="none",
        supervision="Saliency by minimum barrier distance: unsupervised, nothing was trained for it.",
    ),
    "u2net": SaliencyKind(
        place="wsss.stages.saliency.u2net:U2net",
        level="pixels",
        supervision="Saliency by U²-Net-p, a network trained on the pixel masks of DUTS-TR (10,553 photographs, no "
        "classes): pixel-level supervision of another data set.",
        extra="saliency",
    ),
    "folder": SaliencyKind(
        place="wsss.stages.saliency.folder:Folder",
        level="given",
        supervision="Saliency maps were given; whatever supervision made them went in.",
        folder="root",
    ),
    "none": SaliencyKind(place="", level="none", supervision="No saliency."),
}
PROPOSALS = {
    "watershed": ProposalKind(
        place="wsss.stages.instances.watershed:Watershed",
        level="none",
        supervision="Mask proposals by hierarchical watershed: unsupervised, nothing was trained for them.",
        extra="instances",
    ),
    "folder": ProposalKind(
        place="wsss.stages.instances.given_proposals:GivenProposals",
        level="given",
        supervision="Mask proposals were given; whatever supervision made them went in. MCG and COB, for example, were "
        "trained on pixel masks.",
        folder="root",
    ),
    "truth": ProposalKind(
        place="wsss.stages.instances.true_proposals:TrueInstances",
        level="truth",
        supervision="The true instances are the mask proposals: the ceiling of retrieval, no fair result.",
    ),
}


@cache
def dataset_kinds() -> dict[str, str]:
    """Kind to `module:class` of every data set kind that is installed. Imports none of them.

    Raises:
        ValueError: If a package takes a name that no kind may have.
    """
    return DATASETS | {point.name: point.value for point in _points(DATASET_GROUP, DATASETS)}


@cache
def saliency_kinds() -> dict[str, SaliencyKind]:
    """Every saliency kind that is installed, by name.

    Raises:
        ValueError: If a package takes a name that no kind may have, or its entry is no SaliencyKind.
    """
    found = dict(SALIENCY)
    for point in _points(SALIENCY_GROUP, SALIENCY):
        kind = point.load()
        if not isinstance(kind, SaliencyKind):
            raise ValueError(f"{_said(point)}: found {type(kind).__name__}, expected wsss.settings.kinds.SaliencyKind")
        found[point.name] = kind
    return found


def load_class(place: str) -> Any:
    """The class at `module:class`; imports its module."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def kind_modules(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Modules that a stage imports by name, because its settings choose a kind.

    Args:
        settings: The stage's settings as plain values.
    """
    places = []
    if "dataset" in settings:
        places.append(dataset_kinds()[settings["dataset"]["kind"]])
    if "saliency" in settings:
        places.append(saliency_kinds()[settings["saliency"]["kind"]].place)
    if "proposals" in settings:
        places.append(PROPOSALS[settings["proposals"]["kind"]].place)
    return tuple(place.partition(":")[0] for place in places if place)


def _points(group: str, known: dict[str, Any]) -> list[EntryPoint]:
    """The entry points of a group, with names that are free and can be folders."""
    points = list({(point.name, point.value): point for point in entry_points(group=group)}.values())
    names = [*known, *TAKEN]
    for point in points:
        if not re.fullmatch(NAME, point.name):
            raise ValueError(f"{_said(point)}: expected a name of lower-case letters, digits and _")
        if point.name in names:
            raise ValueError(f"{_said(point)}: there is a kind of that name; choose another")
        names.append(point.name)
    return points


def _said(point: EntryPoint) -> str:
    return f"entry point {point.name} of {point.group} ({point.value})"
