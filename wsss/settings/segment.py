"""Settings of segmenters."""

from __future__ import annotations

from typing import Any, Literal

from wsss.settings.base import Section, setting
from wsss.settings.training import TrainingSection

NetworkName = Literal["deeplabv3plus", "largefov", "deeplabv2"]
NETWORKS: dict[str, str] = {"deeplabv3plus": "", "largefov": "vgg16_largefov", "deeplabv2": "torchvision's resnet101"}
"""The backbone that each network brings, with the weights of segment.weights; "": the section `backbone`."""


def shares_backbone(network: str, backbone: str) -> bool:
    """Whether a segmenter is built on the classifier's backbone.

    Args:
        network: A key of `NETWORKS`.
        backbone: The classifier's backbone.name.
    """
    own = NETWORKS[network]
    return backbone == own if own else backbone not in NETWORKS.values()


class PslSection(Section):
    """Prohibitive segmentation learning (AE-PSL, section 3.2)."""

    enabled: bool = setting(
        False, "train with online masks too, and weight by class scores; the variants plain and psl set it"
    )
    score: Literal["softmax", "sigmoid"] = setting(
        "sigmoid",
        "class scores v from the classification branch",
        source="ours: near 1 for a present class, independent of the others; AE-PSL: softmax, inferred",
    )
    train_weighting: Literal["predicted", "labels", "none"] = setting(
        "predicted", "v in training: predicted, the image-level labels, or 1 (none)", source="AE-PSL: predicted"
    )
    test_weighting: Literal["predicted", "labels", "none"] = setting(
        "predicted", "v in prediction, as above; labels is the paper's upper bound", source="AE-PSL: predicted"
    )
    test_p: float = setting(0.1, "prediction: scores below this become 0", source="AE-PSL: 0.1", ge=0, lt=1)
    warmup: float = setting(
        0.5,
        "share of the training before the online masks count",
        source="ours, for short trainings; AE-PSL: not stated",
        ge=0,
        le=1,
    )
    classification_weight: float = setting(1.0, "weight of the classification loss", source="unconfirmed", ge=0, le=100)


class PredictSection(Section):
    """Inference of a segmenter."""

    scales: list[float] = setting(
        [1.25],
        "image scales averaged, on the grid of scale 1",
        source="ours: larger scales draw tighter masks, 1.25 is best for both cycles on the scenes (docs/RESULTS.md); "
        "AE-PSL: 1",
        min_length=1,
    )
    flip: bool = setting(False, "also average the mirrored image", source="AE-PSL: not stated; the field: true")


class SegmentSection(Section):
    """Segmenters trained from pseudo masks."""

    methods: list[str] = setting(["erasing"], "methods whose pseudo masks train segmenters (part of `methods`)")
    variants: list[str] = setting(
        ["plain", "psl"],
        "segmenters side by side: plain, psl, or names under segment.recipes; the last one's masks are the result",
    )
    recipes: dict[str, dict[str, Any]] = setting(
        {},
        "named variants: keys that replace those of this section, e.g. psl_gt: {psl: {enabled: true, test_weighting: "
        "labels}}",
    )
    cycles: int = setting(
        2,
        "trainings in a row: 1: from the seeds; 2: PSL++. The variant plain has 1 unless its recipe sets more",
        unit="cycles",
        source="AE-PSL: 2",
        ge=1,
        le=5,
    )
    start: Literal["pretrained", "classifier"] = setting(
        "pretrained",
        "weights that the backbone starts from: its pretrained ones, or those of the method's first classifier, which "
        "has learnt the image-level labels",
        source="papers: pretrained; classifier is ours, for short trainings on few images",
    )
    cycle_start: Literal["start", "previous"] = setting(
        "previous",
        "weights that cycles after the first start from: those of `start`, or the previous cycle's network",
        source="ours; AE-PSL: not stated",
    )
    network: NetworkName = setting(
        "deeplabv3plus",
        "deeplabv3plus on the backbone, VGG16 LargeFOV (AE-PSL), ResNet-101 ASPP (EPS; ESOL: cited, not confirmed)",
    )
    weights: str = setting(
        "hub", "ImageNet weights of largefov and deeplabv2: hub, none or a path; deeplabv3plus uses backbone.weights"
    )
    train: TrainingSection = TrainingSection()
    psl: PslSection = PslSection()
    predict: PredictSection = PredictSection()
