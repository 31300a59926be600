"""Settings of classifiers, score maps, regions and rounds, and of single methods."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from wsss.settings.base import Section, setting
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
        source="ours (docs/RESULTS.md: 42.9 against 32.2 seed mIoU with 1 on the scenes); AE-PSL does not say; IRN: 0.5, 1, 1.5, 2",
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
        source="ours: of this backbone's maps 0.2 (AE-PSL, VGG16) claims 80 % of a scene; from 0.75 down the classifier of round 3 no longer learns (docs/RESULTS.md)",
        gt=0,
        lt=1,
    )
    normalise: Literal["signed_max", "relu_max", "minmax"] = setting(
        "signed_max",
        "frame of the threshold: signed map, map clipped at 0, or stretched to 0..1",
        source="AE-PSL, inferred: heatmaps of either sign",
    )


class StopSection(Section):
    """When automatic rounds end. Only read with mode auto."""

    rule: Literal["loss", "area"] = setting(
        "loss",
        "loss: the classifier no longer learns; area: the round claims little that is new",
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
        0.02, "stop after a round that claims less than this share of the images anew", source="ours", gt=0, lt=1
    )


class RoundsSection(Section):
    """How many rounds."""

    mode: Literal["fixed", "auto"] = setting("fixed", "fixed: `count` rounds; auto: up to `max`, ended by `stop`")
    count: int = setting(3, "rounds with mode fixed", unit="rounds", source="AE-PSL: 3", ge=1, le=9)
    max: int = setting(4, "largest number with mode auto", unit="rounds", source="AE-PSL trained 4", ge=1, le=9)
    stop: StopSection = StopSection()


class FuseSection(Section):
    """How rounds are put together."""

    later_weight: float = setting(
        1.0,
        "weight of the max-normalised scores of round t: later_weight ** (t - 1)",
        source="ours; 1: AE-PSL",
        gt=0,
        le=1,
    )
    weights: list[float] = setting(
        [],
        "a weighted mean of the rounds' max-normalised scores, one weight a round, instead of the method's own way; empty: its own way",
        source="ours",
    )

    @model_validator(mode="after")
    def _some(self) -> FuseSection:
        if self.weights and (min(self.weights) < 0 or sum(self.weights) <= 0):
            raise ValueError(f"weights {self.weights} must not be negative, and not all 0")
        return self


ADAPTIVE = {"selection": "adaptive"}


class EpsSection(Section):
    """EPS (Lee et al., CVPR 2021): saliency as pseudo-pixel supervision. Read by the methods eps and eps_erasing."""

    selection: Literal["adaptive", "naive", "predefined"] = setting(
        "adaptive",
        "which present classes count as salient: those whose maps overlap with saliency, all, or all but `background_classes`",
        source="EPS: adaptive",
    )
    overlap: float = setting(
        0.4,
        "adaptive: a class whose map's region is salient to a larger share than this counts as salient (tau)",
        source="EPS: 0.4",
        read_if=ADAPTIVE,
        ge=0,
        lt=1,
    )
    warmup: float = setting(
        0.0,
        "adaptive: share of the training before which every present class counts as salient, as the maps do not say yet what they lie on",
        source="ours; EPS: 0, in a training of 20,000 steps",
        read_if=ADAPTIVE,
        ge=0,
        le=1,
    )
    background_classes: list[str] = setting(
        [],
        "predefined: classes that never count as salient",
        source="EPS: its list is not published",
        read_if={"selection": "predefined"},
    )
    mix: float = setting(
        0.5,
        "weight of the salient maps in the estimated saliency; the rest goes to the inverted background (lambda)",
        source="EPS: 0.5 on VOC, 0.9 on COCO",
        ge=0,
        le=1,
    )
    saliency_weight: float = setting(
        1.0, "weight of the saliency loss beside the classification loss", source="EPS: 1", ge=0, le=1000
    )
    saliency_resize: Literal["area", "nearest"] = setting(
        "area",
        "saliency on the grid of the maps: the mean of a cell, or its first pixel",
        source="ours: a cell's centre is not its corner; EPS's code: nearest",
    )
    saliency_gamma: float = setting(
        1.0,
        "power to which saliency is raised before it is learnt from; below 1 lifts maps that are low on objects, as those of `barrier` are",
        source="ours; EPS: as it is, from a network trained on masks",
        gt=0,
        le=10,
    )

    @model_validator(mode="after")
    def _named(self) -> EpsSection:
        if self.selection == "predefined" and not self.background_classes:
            raise ValueError("selection 'predefined' needs background_classes; without any it is 'naive'")
        return self


SHRINKS = 3
"""ESOL's round that shrinks."""


class EsolStageSection(Section):
    """One of ESOL's two samplers."""

    epochs: int = setting(
        2,
        "passes over the training images; more where they make fewer steps than `classifier.min_steps`",
        unit="epochs",
        source="not confirmed",
        ge=1,
        le=1000,
    )
    lr: float = setting(
        1e-5, "learning rate of the offset branch", source="ours, for adamw; not confirmed", gt=0, le=10
    )


class EsolSection(Section):
    """ESOL-style expansion and shrinkage (Li et al., NeurIPS 2022), of which no code and no setting is published. Read by the method esol."""

    gradient: Literal["frozen", "reversal"] = setting(
        "frozen",
        "frozen: the loss times -alpha moves the offsets alone; reversal: the kernel learns with the ordinary loss, the offsets with its reversed gradient",
        source="frozen: the paper's figure, literally; not confirmed",
    )
    alpha: float = setting(
        0.01,
        "factor of the reversed classification loss; adamw divides it out, so it says something with sgd alone",
        source="not confirmed",
        gt=0,
        le=100,
    )
    clip_ratio: float = setting(
        0.15,
        "the expanded features are bounded by this share of a maximum; 1: no clip",
        source="not confirmed",
        gt=0,
        le=1,
    )
    clip: Literal["channel", "map"] = setting(
        "channel",
        "whose maximum: that of the feature's own channel over the image, or of all channels",
        source="ours; not confirmed",
    )
    gamma: float = setting(
        1.0, "weight of the area loss in shrinkage", source="not confirmed", from_round=SHRINKS, ge=0, le=100
    )
    kernel: Literal["channel", "dense"] = setting(
        "channel",
        "a sampler's kernel: one a channel, or over all channels (of EfficientNet-Lite0 1280² × 9 weights: slow on a CPU)",
        source="ours; not confirmed",
    )
    side_weight: float = setting(
        0.0,
        "the kernel's eight outer taps; the centre has the rest of 1. At 0 only the centre's offsets learn, and zero offsets are plain CAM",
        source="ours",
        ge=0,
        le=0.125,
    )
    expansion: EsolStageSection = EsolStageSection()
    shrinkage: EsolStageSection = setting(EsolStageSection(), from_round=SHRINKS)


TRACING = ("extract_scores", "respond_peaks")
"""Stages that trace peaks back to the image."""


class PrmSection(Section):
    """PRM (Zhou et al., CVPR 2018): peak stimulation and peak response maps. Read by the method prm."""

    stimulation: bool = setting(
        True,
        "judge a class by the mean over the peaks of its map; false: over all cells, as CAM",
        source="paper; false: its ablation",
    )
    window: int = setting(
        3,
        "side of the window in which a peak is the maximum; odd, on the finer grid",
        unit="cells",
        source="paper, code: 3",
        ge=3,
        le=63,
    )
    subpixel: int = setting(
        8,
        "in training peaks are looked for on a grid so many times finer than the map",
        source="code: 8; of the paper not confirmed",
        ge=1,
        le=16,
    )
    filter: Literal["median", "mean", "max", "fixed", "none"] = setting(
        "median",
        "peaks below this level of their map do not count: its median, mean or maximum, or `filter_value`",
        source="code: median",
    )
    filter_value: float = setting(
        0.0, "the level with filter fixed", unit="logit", source="not confirmed", read_if={"filter": "fixed"}
    )
    gradient: Literal["mean", "sum"] = setting(
        "mean",
        "gradient at each of N peaks: 1/N, or 1 as in the published code's backward pass",
        source="paper: mean; whether the code's is meant is not confirmed",
    )
    peak_threshold: float = setting(
        0.5,
        "a peak is traced back if it reaches this share of its class's maximum; the highest always is",
        source="not confirmed; code: logits above 30, which depends on the scale that its gradient gives",
        read_by=TRACING,
        ge=0,
        le=1,
    )
    response_subpixel: int = setting(
        1,
        "as `subpixel`, for the peaks that are traced back",
        source="code's demonstration: 1; its successors: 8; not confirmed",
        read_by=TRACING,
        ge=1,
        le=16,
    )
    scores: Literal["together", "each", "maps"] = setting(
        "together",
        "score maps: what all peaks of a class respond to in one pass, where those that lose less mass weigh more; the sum of each one's response map; "
        "or the class maps as they are, as CAM's",
        source="ours: PRM as a seed method; together is several times cheaper than each",
        read_by=("extract_scores",),
    )
    batchnorm: Literal["folded", "gradient"] = setting(
        "folded",
        "top-down pass: BatchNorm is folded into convolutions, activations and average pools pass mass on; or all these by their plain gradient",
        source="not confirmed; code: gradient",
        read_by=TRACING,
    )
    residual: Literal["split", "copy"] = setting(
        "split",
        "mass of a sum goes to its terms by their share, or whole to each",
        source="code: copy; of the paper not confirmed",
        read_by=TRACING,
    )
    dead_ends: Literal["drop", "spread"] = setting(
        "drop",
        "mass of an output without a positive source is lost, or handed down by activation alone",
        source="code: drop; paper: not confirmed",
        read_by=TRACING,
    )
    inputs: Literal["shifted", "signed"] = setting(
        "shifted",
        "inputs of a layer: over the minimum of their sample; or as they are, negative ones as sources through negative weights",
        source="code: shifted, by the minimum of the batch; signed is ours, for layers that follow no ReLU (EfficientNet-Lite's bottlenecks); not confirmed",
        read_by=TRACING,
    )

    @model_validator(mode="after")
    def _odd(self) -> PrmSection:
        if self.window % 2 == 0:
            raise ValueError(f"window {self.window} has no centre; expected an odd number")
        return self


class SeedsSection(Section):
    """Classifier, scores, regions and rounds, and what single methods add."""

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
