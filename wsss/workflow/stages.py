"""The stage table: everything that rules, commands, records and the plan must know of a stage (no torch).

A stage is a rule, a module, a function, a subcommand and a log folder of one name. A new one is its module, its rule
and its entry here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wsss.methods import FACTS
from wsss.settings.kinds import PROPOSALS, kind_modules
from wsss.settings.sections import Section
from wsss.workflow import costs, views
from wsss.workflow.jobs import Job

if TYPE_CHECKING:
    from wsss.workflow.graph import Graph

PATTERNS = {
    "shard": r"(?:train|val)-\d+",
    "split": "train|val",
    "round": r"[1-9]\d*",
    "cycle": r"\d+",
}
"""What a wildcard may be, where that is not any name."""


View = Callable[["Graph", Job], Section]
Cost = Callable[[costs.Estimate, Job], float]


def _kind(settings: Any) -> list[str]:
    """The module of the kind of data set, saliency or proposals that a stage's settings choose."""
    return list(kind_modules(settings.model_dump(mode="json")))


def _method(settings: Any) -> list[str]:
    """The module of the method that a stage runs."""
    return [FACTS[settings.kind].module] if settings.kind in FACTS else []


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage.

    Attributes:
        folder: Package folder under wsss/stages, and rule file.
        place: Path of its output in the run's folder, with wildcards in braces.
        wildcards: Narrower patterns of its wildcards than PATTERNS.
        view: The settings that it is given; None: none.
        products: Parameters that name its products, the main one first. Every other path parameter is an input.
        beside: Further products, as patterns in the folder of its output; {stem} is the output's.
        computes: Whether it is given `compute` (threads, precision, device): it works with torch.
        shared: Whether several processes can share its work.
        imports: From its settings to the modules that it imports by name, e.g. the method's. Their code counts as its
            own.
        row: Whether it is given the identifying columns of its rows in metrics.csv.
        seconds: Time of a job for each of its images, as `wsss plan` estimates it; None: next to nothing.
        bytes: Size of its products for each of its images; None: next to nothing.
    """

    folder: str
    place: str
    wildcards: Mapping[str, str] = field(default_factory=dict)
    view: View | None = None
    products: tuple[str, ...] = ("output",)
    beside: tuple[str, ...] = ()
    computes: bool = False
    shared: bool = False
    imports: Callable[[Any], list[str]] | None = None
    row: bool = False
    seconds: Cost | None = None
    bytes: Cost | None = None

    def path(self, **wildcards: Any) -> str:
        """The output's path in the run's folder."""
        return self.place.format(**wildcards)

    def job(self, inside: str) -> Job | None:
        """The job whose output is at a path of the run's folder, or None if no output of the stage is."""
        names = re.findall(r"\{(\w+)\}", self.place)
        pattern = re.escape(self.place)
        for name in names:
            pattern = pattern.replace(rf"\{{{name}\}}", f"(?P<{name}>{self.pattern(name)})")
        match = re.fullmatch(pattern, inside)
        if match is None:
            return None
        found: dict[str, Any] = match.groupdict()
        return Job(**found | {k: int(found[k]) for k in ("round", "cycle") if k in found})

    def pattern(self, wildcard: str) -> str:
        """Regular expression of what a wildcard may be."""
        return self.wildcards.get(wildcard) or PATTERNS.get(wildcard) or "[^/]+"


ROUND = "{method}/seeds/round-{round}"
SEGMENTER = "{method}/segment/{variant}/cycle-{cycle}"
TRAINING: dict[str, Any] = {"products": ("output", "record"), "computes": True, "shared": True}

STAGES: dict[str, Stage] = {
    "index_images": Stage(
        folder="dataset",
        place="dataset/index.csv",
        view=views.index_images,
        imports=_kind,
        # Images that the stage draws are not products: the index holds their digests.
        beside=("classes.csv", "statistics.json", "shards/*.csv"),
        bytes=lambda e, job: e.drawn,
    ),
    "estimate_saliency": Stage(
        folder="saliency",
        place="saliency/{cue}/{shard}.h5",
        view=views.estimate_saliency,
        imports=_kind,
        seconds=lambda e, job: e.saliency,
        bytes=costs.saliency_bytes,
    ),
    "train_classifier": Stage(
        folder="seeds",
        place=f"{ROUND}/classifier.safetensors",
        view=views.train_classifier,
        imports=_method,
        seconds=costs.classifier_seconds,
        **TRAINING,
    ),
    "extract_scores": Stage(
        folder="seeds",
        place=f"{ROUND}/scores/{{shard}}.h5",
        view=views.extract_scores,
        computes=True,
        imports=_method,
        seconds=costs.scores_seconds,
        bytes=lambda e, job: e.maps,
    ),
    "claim_regions": Stage(
        folder="seeds",
        place=f"{ROUND}/regions/{{shard}}.h5",
        view=views.claim_regions,
        bytes=lambda e, job: e.mask * e.classes,
    ),
    "measure_round": Stage(folder="seeds", place=f"{ROUND}/metrics.json"),
    "fuse_regions": Stage(
        folder="seeds",
        place="{method}/seeds/fused/{shard}.h5",
        view=views.fuse_regions,
        bytes=lambda e, job: e.maps + e.mask * e.classes,
    ),
    "make_seeds": Stage(
        folder="pseudo", place="{method}/pseudo/seed/{shard}.h5", view=views.make_seeds, bytes=lambda e, job: e.mask
    ),
    "refine_masks": Stage(
        folder="pseudo",
        place="{method}/pseudo/{variant}/cycle-{cycle}/{shard}.h5",
        view=views.refine_masks,
        seconds=lambda e, job: e.crf,
        bytes=lambda e, job: e.mask,
    ),
    "train_segmenter": Stage(
        folder="segment",
        place=f"{SEGMENTER}/segmenter.safetensors",
        view=views.train_segmenter,
        seconds=costs.segmenter_seconds,
        **TRAINING,
    ),
    "predict_masks": Stage(
        folder="segment",
        place=f"{SEGMENTER}/predictions/{{shard}}.h5",
        view=views.predict_masks,
        computes=True,
        seconds=costs.predict_seconds,
        bytes=lambda e, job: e.mask + e.maps,
    ),
    "export_masks": Stage(
        folder="segment", place="{method}/masks/{split}.csv", beside=("{stem}/*.png",), bytes=lambda e, job: e.mask / 2
    ),
    "propose_masks": Stage(
        folder="instances",
        place="proposals/{kind}/{shard}.json",
        wildcards={"kind": "|".join(PROPOSALS)},
        view=views.propose_masks,
        imports=_kind,
        bytes=costs.proposal_bytes,
    ),
    "respond_peaks": Stage(
        folder="instances",
        place="{method}/instances/responses/{shard}.h5",
        view=views.respond_peaks,
        computes=True,
        imports=_method,
        seconds=costs.responses_seconds,
        bytes=costs.response_bytes,
    ),
    "retrieve_instances": Stage(
        folder="instances", place="{method}/instances/{shard}.json", view=views.retrieve_instances
    ),
    "export_instances": Stage(folder="instances", place="{method}/instances/instances.json", beside=("images/*.png",)),
    "measure_scores": Stage(
        folder="evaluate",
        place="metrics/{method}/{name}.csv",
        wildcards={"name": r"scores-round-\d+|fused"},
        view=views.measure_scores,
        row=True,
    ),
    "measure_masks": Stage(
        folder="evaluate",
        place="metrics/{method}/{name}.csv",
        wildcards={"name": "seed|pseudo-.*|prediction-.*"},
        row=True,
    ),
    "measure_instances": Stage(folder="evaluate", place="metrics/{method}/instances.csv", row=True),
    # The last two read the whole configuration and the rounds used, which are known while the workflow runs.
    "collect_metrics": Stage(folder="evaluate", place="metrics.csv"),
    "write_report": Stage(
        folder="report",
        place="report/index.html",
        # The page quotes what each kind says of its supervision.
        imports=lambda settings: ["wsss.settings.kinds"],
        beside=("gallery.jpg",),
    ),
}
"""Every stage by name, in the order data flows."""


def find_job(inside: str) -> tuple[str, Job]:
    """The stage and the job whose output is at a path of a run's folder.

    Raises:
        ValueError: If no stage's output is there.
    """
    for name, stage in STAGES.items():
        if (job := stage.job(inside)) is not None:
            return name, job
    raise ValueError(f"{inside}: no stage's output is there")
