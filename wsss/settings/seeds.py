"""Settings of classifiers, score maps, regions and rounds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from wsss.settings.base import Section, setting
from wsss.settings.seed_methods import EpsSection, EsolSection, PrmSection
from wsss.settings.training import TrainingSection


class ClassifierSection(TrainingSection):
    """Training of the classification network of a round."""

    loss: Literal["soft_margin", "squared"] = setting(
        "soft_margin",
        "multi-label soft margin, or half squared error of softmax against labels/L1 norm",
        source="the field; AE-PSL: squared (HCP)",
    )


class ScoresSection(Section):
    """Class activation maps."""

    scales: list[float] = setting(
        [2.0],
        "image scales whose maps are averaged, on the grid of scale 1",
        source="ours: seed mIoU 42.9 on the scenes, 32.2 with 1 (docs/RESULTS.md); AE-PSL: not stated; "
        "IRN: 0.5, 1, 1.5, 2",
        min_length=1,
    )
    flip: bool = setting(True, "also average the mirrored image", source="the field")

    @model_validator(mode="after")
    def _positive(self) -> ScoresSection:
        if bad := [s for s in self.scales if not 0.1 <= s <= 4]:
            raise ValueError(f"scales {bad} are outside 0.1..4")
        return self


class ClaimSection(Section):
    """What one round claims of a score map."""

    rel_threshold: float = setting(
        0.85,
        "a region is where the map exceeds this share of its maximum",
        source="ours: with this backbone 0.2 (AE-PSL, VGG16) claims 80 % of a scene, and at 0.75 or less round 3's "
        "classifier no longer learns (docs/RESULTS.md)",
        gt=0,
        lt=1,
    )
    normalise: Literal["signed_max", "relu_max", "minmax"] = setting(
        "signed_max",
        "what the share is taken of: the signed map, the map clipped at 0, or the map stretched to 0..1",
        source="AE-PSL, inferred: heatmaps of either sign",
    )


class StopSection(Section):
    """When automatic rounds end. Read only with mode auto."""

    rule: Literal["loss", "area"] = setting(
        "loss",
        "loss: stop when the classifier no longer learns; area: stop when a round adds little",
        source="AE-PSL: converged loss, judged by eye",
    )
    loss_ratio: float = setting(
        2.0,
        "stop before a round whose final loss exceeds this multiple of round 1's",
        source="AE-PSL Fig. 5a: 1.8, 2.2, 3.3",
        gt=1,
        le=100,
    )
    min_new_area: float = setting(
        0.02, "stop after a round that adds less than this share of the images' pixels", source="ours", gt=0, lt=1
    )


class RoundsSection(Section):
    """How many rounds."""

    mode: Literal["fixed", "auto"] = setting(
        "fixed", "fixed: `count` rounds; auto: up to `max`, until `stop` ends them"
    )
    count: int = setting(3, "rounds with mode fixed", unit="rounds", source="AE-PSL: 3", ge=1, le=9)
    max: int = setting(
        4, "largest number of rounds with mode auto", unit="rounds", source="AE-PSL trained 4", ge=1, le=9
    )
    stop: StopSection = StopSection()


class FuseSection(Section):
    """How rounds are combined."""

    later_weight: float = setting(
        1.0,
        "weight of the max-normalised scores of round t: later_weight ** (t - 1)",
        source="ours; 1: AE-PSL",
        gt=0,
        le=1,
    )
    weights: list[float] = setting(
        [],
        "weights of a mean of the rounds' max-normalised scores, one for each round; empty: the method's own way",
        source="ours",
    )

    @model_validator(mode="after")
    def _some(self) -> FuseSection:
        if self.weights and (min(self.weights) < 0 or sum(self.weights) <= 0):
            raise ValueError(f"weights {self.weights} must not be negative, and not all 0")
        return self


class SeedsSection(Section):
    """Classifier, scores, regions and rounds, and the settings of single methods."""

    classifier: ClassifierSection = ClassifierSection()
    scores: ScoresSection = ScoresSection()
    claim: ClaimSection = ClaimSection()
    rounds: RoundsSection = RoundsSection()
    fuse: FuseSection = FuseSection()
    eps: EpsSection = EpsSection()
    esol: EsolSection = EsolSection()
    prm: PrmSection = PrmSection()
    custom: dict[str, dict[str, Any]] = setting(
        {}, "settings of methods that other packages add, by method kind; they check them (docs/NEW_METHOD.md)"
    )
