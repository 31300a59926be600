"""The typed models of the configuration, one a section (no torch).

A field made with `setting` carries its default, meaning, unit, legal range and source. `wsss config` makes
`config.yaml`
from them. `wsss.settings.config.load` refuses a value outside its range, of a wrong type or under an unknown key.
`wsss/settings/stage_settings.py` says what each stage is given. Here: the whole configuration, evaluation, report and
machine.
"""

from __future__ import annotations

from typing import Any, Literal

from wsss.files.limits import MOST_RUN_NAME
from wsss.settings.base import NAME, Section, setting
from wsss.settings.dataset import (
    BarrierSection,
    CocoSection,
    DatasetSection,
    FolderSection,
    SaliencyFolderSection,
    SaliencySection,
    ScenesSection,
    U2netSection,
    VocSection,
)
from wsss.settings.instances import (
    InstancesSection,
    ProposalFolderSection,
    ProposalsSection,
    RetrievalSection,
    WatershedSection,
)
from wsss.settings.pseudo import CrfSection, PseudoSection, SeedMaskSection
from wsss.settings.seed_methods import EpsSection, EsolSection, EsolStageSection, PrmSection
from wsss.settings.seeds import (
    ClaimSection,
    ClassifierSection,
    FuseSection,
    RoundsSection,
    ScoresSection,
    SeedsSection,
    StopSection,
)
from wsss.settings.segment import PredictSection, PslSection, SegmentSection
from wsss.settings.training import AugmentSection, BackboneSection, LargeFovSection, OptimiserSection, TrainingSection

__all__ = [
    "NAME",
    "AugmentSection",
    "BackboneSection",
    "BarrierSection",
    "ClaimSection",
    "ClassifierSection",
    "CocoSection",
    "ComputeSection",
    "Config",
    "CrfSection",
    "DatasetSection",
    "EpsSection",
    "EsolSection",
    "EsolStageSection",
    "EvaluateSection",
    "FolderSection",
    "FuseSection",
    "InstancesSection",
    "LargeFovSection",
    "OptimiserSection",
    "PredictSection",
    "PrmSection",
    "ProposalFolderSection",
    "ProposalsSection",
    "PseudoSection",
    "PslSection",
    "ReportSection",
    "RetrievalSection",
    "RoundsSection",
    "SaliencyFolderSection",
    "SaliencySection",
    "ScenesSection",
    "ScoresSection",
    "Section",
    "SeedMaskSection",
    "SeedsSection",
    "SegmentSection",
    "ShardsSection",
    "StopSection",
    "TrainingSection",
    "U2netSection",
    "VocSection",
    "WatershedSection",
    "setting",
]


class EvaluateSection(Section):
    """What is measured. Reads truth masks where the data set has them."""

    threshold: float = setting(
        0.3, "the configured constant background threshold of `miou` for scores and fused", source="ours", ge=0, le=1
    )
    sweep_max: float = setting(1.0, "largest threshold of the sweep", source="ours", gt=0, le=1)
    sweep_steps: int = setting(101, "thresholds in the sweep, evenly from 0", source="ours", ge=2, le=1001)
    full_supervision: bool = setting(False, "also train the segmenter with full masks, to report weak/full")


class ReportSection(Section):
    """The page."""

    gallery: int = setting(
        9, "images followed through the stages: best, typical and worst in equal parts", unit="images", ge=3, le=99
    )


class ShardsSection(Section):
    """Blocks of images that one job handles. Changing them moves files: maps are made again."""

    train: int = setting(
        1,
        "shards of the training split (about 330 images each at full size)",
        unit="shards",
        source="ours",
        ge=1,
        le=999,
    )
    val: int = setting(1, "shards of the validation split", unit="shards", source="ours", ge=1, le=999)


class ComputeSection(Section):
    """The machine."""

    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "auto: cuda where there is one; the log says which", read_by=()
    )
    precision: Literal["32", "bf16-mixed", "16-mixed"] = setting(
        "32", "arithmetic of training; inference is always 32; mixed needs a GPU to be faster"
    )
    threads: int = setting(
        2, "torch threads of a GPU stage; changes the last bits of results", unit="threads", ge=1, le=256
    )
    workers: int = setting(
        1, "image-loading processes of a GPU stage; does not change results", unit="processes", read_by=(), ge=0, le=64
    )
    shards: ShardsSection = setting(ShardsSection(), read_by=("index_images",))


class Config(Section):
    """The whole configuration."""

    run: str = setting(
        "scenes", "name of the run: results/{run}", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=MOST_RUN_NAME
    )
    seed: int = setting(0, "seed of the models; every draw is keyed on (seed, stage, round, epoch, image)", ge=0)
    methods: list[str] = setting(
        ["cam", "erasing"], "seed methods side by side: kinds, or names under recipes", min_length=1
    )
    recipes: dict[str, dict[str, Any]] = setting(
        {},
        "named variants of a method: {name: {kind: erasing, seeds: {rounds: {count: 4}}}}; "
        "sections backbone, saliency, seeds, pseudo, segment, instances",
    )
    dataset: DatasetSection = DatasetSection()
    backbone: BackboneSection = BackboneSection()
    saliency: SaliencySection = SaliencySection()
    seeds: SeedsSection = SeedsSection()
    pseudo: PseudoSection = PseudoSection()
    segment: SegmentSection = SegmentSection()
    instances: InstancesSection = InstancesSection()
    evaluate: EvaluateSection = EvaluateSection()
    report: ReportSection = ReportSection()
    compute: ComputeSection = ComputeSection()
