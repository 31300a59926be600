"""Rows that describe a run: what is measured, the records of trainings, the plan that the report draws (no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

FULL_SUPERVISION = "full"
"""Stands for a method in paths and rows of the fully supervised reference."""


class ArtefactKey(NamedTuple):
    """The columns of metrics.csv that identify an artefact.

    Attributes:
        method: A method, or FULL_SUPERVISION.
        variant: Variant of the segmenter; "" where none applies.
        stage: scores, regions, fused, seed, pseudo, prediction or instances.
        round: Round, from 1; None where none applies.
        cycle: Cycle, from 0; None where none applies.
        split: "train" or "val".
    """

    method: str
    variant: str
    stage: str
    round: int | None
    cycle: int | None
    split: str


@dataclass(frozen=True, kw_only=True)
class MeasuredArtefact:
    """One artefact of one split that is measured and shown: score maps, seeds, masks or predictions.

    Attributes:
        method: A method, or FULL_SUPERVISION.
        stage: As in `ArtefactKey`; regions are shown but not measured.
        name: Its rows are in metrics/{method}/{name}.csv.
        files: Its files, one a shard.
        round: Round, from 1; None where none applies.
        variant: Variant of the segmenter; "" where none applies.
        cycle: Cycle, from 0; None where none applies.
        split: "train" or "val".
        exported: Whether users take these masks away and no training reads them.
    """

    method: str
    stage: str
    name: str
    files: Sequence[str]
    round: int | None = None
    variant: str = ""
    cycle: int | None = None
    split: str = "train"
    exported: bool = False

    @property
    def key(self) -> ArtefactKey:
        """What identifies it in metrics.csv."""
        return ArtefactKey(self.method, self.variant, self.stage, self.round, self.cycle, self.split)

    @property
    def has_maps(self) -> bool:
        """Whether it holds score maps, which are measured at every threshold; else masks or regions."""
        return self.stage in ("scores", "fused")

    def row_keys(self, *, run: str, seed: int) -> dict[str, Any]:
        """The identifying columns of its rows in metrics.csv, as `RowKeys` has them."""
        return {"run": run, "seed": seed, **self.key._asdict()}


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """A JSON file of figures that a training or a round left.

    Attributes:
        method: The method that uses it, or FULL_SUPERVISION. Several methods may share one file.
        variant: Variant of the segmenter; "" of a classifier or round.
        round: Round, from 1; None of a segmenter.
        cycle: Cycle, from 0; None of a classifier or round.
        kind: classifier (training.json), round (metrics.json) or segmenter (metrics.json).
        file: The file.
    """

    method: str
    kind: Literal["classifier", "round", "segmenter"]
    file: str
    variant: str = ""
    round: int | None = None
    cycle: int | None = None


@dataclass(frozen=True, kw_only=True)
class InstanceFiles:
    """Where a method's instances are.

    Attributes:
        method: The method.
        folder: Folder of images of instance numbers, {image_id}.png.
        files: Instances, one JSON file a shard.
        proposals: Kind of the mask proposals that they were chosen from; "" where none were read.
    """

    method: str
    folder: str
    files: Sequence[str]
    proposals: str


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Everything that the report must find.

    Attributes:
        run: Name of the run.
        config: The settings that this run reads, by section, as plain values.
        methods: Methods in the order of the configuration.
        kinds: Kind by method.
        cues: Kind of saliency by method.
        saliency: Saliency files by method.
        artefacts: What is measured, and the regions of every round.
        records: Records of trainings and rounds.
        benchmarks: Folder of Snakemake's benchmark files.
        instances: Where instances are, an entry a method that has them.
    """

    run: str
    config: Mapping[str, Any]
    methods: Sequence[str]
    kinds: Mapping[str, str]
    cues: Mapping[str, str]
    saliency: Mapping[str, Sequence[str]]
    artefacts: Sequence[MeasuredArtefact]
    records: Sequence[TrainingRecord]
    benchmarks: str
    instances: Sequence[InstanceFiles] = field(default_factory=tuple)

    def find(self, **wanted: object) -> list[MeasuredArtefact]:
        """The artefacts whose attributes have these values, e.g. `find(method="cam", stage="seed")`."""
        return [a for a in self.artefacts if all(getattr(a, name) == value for name, value in wanted.items())]
