"""Stage views: exactly the keys of the configuration that each stage reads (no torch). Rules pass nothing else, so nothing else makes a stage rerun."""

from __future__ import annotations

from typing import Any, Literal

from wsss.settings.sections import (
    NAME,
    BackboneSection,
    ClaimSection,
    ClassifierSection,
    Config,
    CrfSection,
    DatasetSection,
    FuseSection,
    InstancesSection,
    PredictSection,
    ProposalsSection,
    PslSection,
    RetrievalSection,
    SaliencySection,
    ScoresSection,
    Section,
    SeedMaskSection,
    ShardsSection,
    TrainingSection,
    setting,
)
from wsss.settings.segment import NetworkName


class IndexSettings(Section):
    """index_images."""

    dataset: DatasetSection = DatasetSection()
    shards: ShardsSection = ShardsSection()


class SaliencySettings(Section):
    """estimate_saliency."""

    saliency: SaliencySection = SaliencySection()


class ClassifierSettings(Section):
    """train_classifier."""

    kind: str = setting("cam", "method kind", pattern=NAME)
    round: int = setting(1, "round to train", ge=1)
    seed: int = setting(0, "seed", ge=0)
    backbone: BackboneSection = BackboneSection()
    classifier: ClassifierSection = ClassifierSection()
    options: dict[str, Any] = setting({}, "the method's own subsection of `seeds`")


class ScoresSettings(Section):
    """extract_scores."""

    kind: str = setting("cam", "method kind", pattern=NAME)
    round: int = setting(1, "round", ge=1)
    backbone: BackboneSection = BackboneSection()
    scores: ScoresSection = ScoresSection()
    options: dict[str, Any] = setting({}, "the method's own subsection of `seeds`")


class ClaimSettings(Section):
    """claim_regions."""

    claim: ClaimSection = ClaimSection()


class FuseSettings(Section):
    """fuse_regions."""

    kind: str = setting("cam", "method kind", pattern=NAME)
    fuse: FuseSection = FuseSection()


class SeedMaskSettings(Section):
    """make_seeds."""

    seed: SeedMaskSection = SeedMaskSection()


class RefineSettings(Section):
    """refine_masks."""

    refine: Literal["crf", "none"] = setting("crf", "refinement")
    crf: CrfSection = CrfSection()


class SegmenterSettings(Section):
    """train_segmenter."""

    seed: int = setting(0, "seed", ge=0)
    cycle: int = setting(0, "cycle", ge=0)
    full_supervision: bool = setting(False, "train with the truth masks (evaluation only)")
    network: NetworkName = setting("deeplabv3plus", "network")
    weights: str = setting("hub", "weights")
    start: Literal["pretrained", "classifier"] = setting("pretrained", "weights that the backbone starts from")
    backbone: BackboneSection = BackboneSection()
    train: TrainingSection = TrainingSection()
    psl: PslSection = PslSection()


class PredictSettings(Section):
    """predict_masks."""

    psl: PslSection = PslSection()
    predict: PredictSection = PredictSection()


class ResponseSettings(Section):
    """respond_peaks."""

    kind: str = setting("prm", "method kind", pattern=NAME)
    backbone: BackboneSection = BackboneSection()
    scale: float = setting(InstancesSection().response_scale, "image scale", ge=0.1, le=8)
    options: dict[str, Any] = setting({}, "the method's own subsection of `seeds`")


class ProposalSettings(Section):
    """propose_masks."""

    proposals: ProposalsSection = ProposalsSection()


class RetrievalSettings(Section):
    """retrieve_instances."""

    route: Literal["proposals", "components"] = setting("proposals", "route")
    min_area: float = setting(InstancesSection().min_area, "smallest component", ge=0, lt=1)
    retrieval: RetrievalSection = RetrievalSection()


class SweepSettings(Section):
    """measure_scores."""

    threshold: float = setting(0.3, "configured threshold", ge=0, le=1)
    sweep_max: float = setting(1.0, "largest threshold", gt=0, le=1)
    sweep_steps: int = setting(101, "thresholds", ge=2, le=1001)


class RowKeys(Section):
    """The identifying columns of rows in metrics.csv; null where one does not apply."""

    run: str = setting("", "run")
    method: str = setting("", "method")
    variant: str = setting("", "variant")
    stage: str = setting("", "scores, fused, seed, pseudo, prediction, instances")
    round: int | None = setting(None, "round", ge=1)
    cycle: int | None = setting(None, "cycle", ge=0)
    split: str = setting("", "train or val")
    seed: int = setting(0, "seed of the models", ge=0)


class PlanSettings(Section):
    """collect_metrics and write_report: the whole configuration and the rounds that were run."""

    config: Config = Config()
    rounds: dict[str, int] = setting({}, "rounds used, by method")
