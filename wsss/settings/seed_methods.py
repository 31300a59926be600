"""Settings of single seed methods, one section for each method that has its own."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from wsss.settings.base import Section, setting

ADAPTIVE = {"selection": "adaptive"}


class EpsSection(Section):
    """EPS (Lee et al., CVPR 2021): saliency as pseudo-pixel supervision. Read by the methods eps and eps_erasing."""

    selection: Literal["adaptive", "naive", "predefined"] = setting(
        "adaptive",
        "present classes that count as salient: adaptive: those whose maps overlap with saliency; naive: all; "
        "predefined: all except `background_classes`",
        source="EPS: adaptive",
    )
    overlap: float = setting(
        0.4,
        "adaptive: a class counts as salient if more than this share of its map's region is salient (tau)",
        source="EPS: 0.4",
        read_if=ADAPTIVE,
        ge=0,
        lt=1,
    )
    warmup: float = setting(
        0.0,
        "adaptive: share of the training in which every present class counts as salient: early maps are not reliable",
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
        "weight of the salient maps in the estimated saliency (lambda); the inverted background has the rest",
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
        "power of saliency in the loss; below 1 raises maps that are low on objects, such as those of `barrier`",
        source="ours; EPS: 1, with a network trained on masks",
        gt=0,
        le=10,
    )

    @model_validator(mode="after")
    def _named(self) -> EpsSection:
        if self.selection == "predefined" and not self.background_classes:
            raise ValueError("selection 'predefined' needs background_classes; without any it is 'naive'")
        return self


class EsolStageSection(Section):
    """One of ESOL's two samplers."""

    epochs: int = setting(
        2,
        "passes over the training images; more if they make fewer steps than `classifier.min_steps`",
        unit="epochs",
        source="not confirmed",
        ge=1,
        le=1000,
    )
    lr: float = setting(
        1e-5, "learning rate of the offset branch", source="ours, for adamw; not confirmed", gt=0, le=10
    )


class EsolSection(Section):
    """ESOL-style expansion and shrinkage (Li et al., NeurIPS 2022; no code or settings published). Read by esol."""

    gradient: Literal["frozen", "reversal"] = setting(
        "frozen",
        "frozen: the loss times -alpha moves only the offsets; reversal: the kernel learns with the ordinary loss, the "
        "offsets with its reversed gradient",
        source="frozen: the paper's figure, literally; not confirmed",
    )
    alpha: float = setting(
        0.01,
        "factor of the reversed classification loss; matters only with sgd, because adamw divides it out",
        source="not confirmed",
        gt=0,
        le=100,
    )
    clip_ratio: float = setting(
        0.15,
        "limit of the expanded features, as a share of a maximum; 1: no limit",
        source="not confirmed",
        gt=0,
        le=1,
    )
    clip: Literal["channel", "map"] = setting(
        "channel",
        "the maximum of that limit: channel: of the feature's own channel over the image; map: of all channels",
        source="ours; not confirmed",
    )
    gamma: float = setting(1.0, "weight of the area loss in shrinkage", source="not confirmed", ge=0, le=100)
    kernel: Literal["channel", "dense"] = setting(
        "channel",
        "a sampler's kernel: channel: one for each channel; dense: over all channels (1280² × 9 weights with "
        "EfficientNet-Lite0: slow on a CPU)",
        source="ours; not confirmed",
    )
    side_weight: float = setting(
        0.0,
        "weight of each of the kernel's eight outer taps; the centre has the rest of 1. At 0 only the centre's offsets "
        "learn, and zero offsets are plain CAM",
        source="ours",
        ge=0,
        le=0.125,
    )
    expansion: EsolStageSection = EsolStageSection()
    shrinkage: EsolStageSection = EsolStageSection()


class PrmSection(Section):
    """PRM (Zhou et al., CVPR 2018): peak stimulation and peak response maps. Read by the method prm."""

    stimulation: bool = setting(
        True,
        "judge a class by the mean over the peaks of its map; false: over all cells, as CAM",
        source="paper; false: its ablation",
    )
    window: int = setting(
        3,
        "side of the window in which a peak is the maximum, on the finer grid; odd",
        unit="cells",
        source="paper, code: 3",
        ge=3,
        le=63,
    )
    subpixel: int = setting(
        8,
        "how many times finer than the map the grid is on which training looks for peaks",
        source="code: 8; of the paper not confirmed",
        ge=1,
        le=16,
    )
    filter: Literal["median", "mean", "max", "fixed", "none"] = setting(
        "median",
        "level of its map that a peak must reach: median, mean or maximum; fixed: `filter_value`; none: any",
        source="code: median",
    )
    filter_value: float = setting(
        0.0, "the level with filter fixed", unit="logit", source="not confirmed", read_if={"filter": "fixed"}
    )
    gradient: Literal["mean", "sum"] = setting(
        "mean",
        "gradient at each of N peaks: mean: 1/N; sum: 1, as in the published code's backward pass",
        source="paper: mean; whether the code's is intended is not confirmed",
    )
    peak_threshold: float = setting(
        0.5,
        "share of its class's maximum that a peak must reach to be traced back; the highest peak always is",
        source="not confirmed; code: logits above 30, a scale that depends on its gradient",
        ge=0,
        le=1,
    )
    response_subpixel: int = setting(
        1,
        "as `subpixel`, for the peaks that are traced back",
        source="code's demonstration: 1; its successors: 8; not confirmed",
        ge=1,
        le=16,
    )
    scores: Literal["together", "each", "maps"] = setting(
        "together",
        "score maps: together: one pass for all peaks of a class, in which peaks that lose less mass count more; "
        "each: the sum of the peaks' response maps; maps: the class maps, as CAM",
        source="ours: PRM as a seed method; together is several times faster than each",
    )
    batchnorm: Literal["folded", "gradient"] = setting(
        "folded",
        "top-down pass: folded: BatchNorm joins its convolution, activations and average pools hand mass on; "
        "gradient: all these by their plain gradient",
        source="not confirmed; code: gradient",
    )
    residual: Literal["split", "copy"] = setting(
        "split",
        "mass of a sum: split: to its terms by their share; copy: whole to each",
        source="code: copy; of the paper not confirmed",
    )
    dead_ends: Literal["drop", "spread"] = setting(
        "drop",
        "mass of an output without a positive source: drop: is lost; spread: is handed down by activation only",
        source="code: drop; paper: not confirmed",
    )
    inputs: Literal["shifted", "signed"] = setting(
        "shifted",
        "inputs of a layer: shifted: above the minimum of their sample; signed: as they are, with negative inputs as "
        "sources through negative weights",
        source="code: shifted, by the minimum of the batch; signed is ours, for layers that follow no ReLU "
        "(EfficientNet-Lite's bottlenecks); not confirmed",
    )

    @model_validator(mode="after")
    def _odd(self) -> PrmSection:
        if self.window % 2 == 0:
            raise ValueError(f"window {self.window} has no centre; expected an odd number")
        return self
