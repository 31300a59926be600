"""Settings of the data set and of saliency."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from wsss.runtime.text import nearest, short
from wsss.settings.base import Section, setting
from wsss.settings.kinds import DATASETS, SALIENCY, dataset_kinds, saliency_kinds


class KindSection(Section):
    """A section whose `kind` chooses one of its subsections, or a kind that another package adds, under `custom`."""

    built_in: ClassVar[Collection[str]]
    """The kinds of this package."""
    if TYPE_CHECKING:  # declared by the subclasses, in the order of config.yaml
        kind: str
        custom: dict[str, dict[str, Any]]

    @classmethod
    def kinds(cls) -> Collection[str]:
        """The kinds that are installed."""
        raise NotImplementedError

    @property
    def place(self) -> str:
        """`module:class` of the chosen kind; empty if it has none."""
        raise NotImplementedError

    @property
    def own(self) -> Any:
        """The settings of the chosen kind: its subsection, or its mapping under `custom`; {} if it has none."""
        return getattr(self, self.kind) if self.kind in type(self).model_fields else self.custom.get(self.kind, {})

    @model_validator(mode="after")
    def _installed(self) -> Self:
        if self.kind in self.built_in and not self.custom:
            return self  # other packages are not asked: they may be importing this module
        known = list(self.kinds())
        if self.kind not in known:
            raise ValueError(f"kind {short(self.kind)} is not installed; {nearest(self.kind, known)}")
        others = [kind for kind in known if kind not in self.built_in]
        for name in self.custom:
            if name not in others:
                raise ValueError(f"custom.{name}: no other package adds such a kind; {nearest(name, others)}")
        return self


class ScenesSection(Section):
    """The embedded synthetic data set, drawn from a seed."""

    train: int = setting(240, "training images", unit="images", source="ours", ge=4, le=100_000)
    val: int = setting(80, "validation images", unit="images", source="ours", ge=2, le=100_000)
    generator_seed: int = setting(0, "seed of the drawing, apart from the models' seed", source="ours", ge=0)
    min_side: int = setting(128, "shortest side of an image", unit="px", source="ours", ge=64, le=512)
    max_side: int = setting(176, "longest side of an image", unit="px", source="ours", ge=64, le=512)

    @model_validator(mode="after")
    def _ordered(self) -> ScenesSection:
        if self.min_side > self.max_side:
            raise ValueError(f"min_side {self.min_side} is above max_side {self.max_side}")
        return self


class VocSection(Section):
    """A folder laid out as VOCdevkit/VOC2012."""

    root: str = setting("data/VOCdevkit/VOC2012", "the folder that holds JPEGImages, ImageSets and Annotations")
    train: str = setting(
        "train_aug", "list under ImageSets/Segmentation whose images train", source="AE-PSL: train_aug"
    )
    measure: str = setting(
        "train", "list (part of `train`) on whose masks seeds and pseudo masks are measured; empty: all of it"
    )
    val: str = setting("val", "list under ImageSets/Segmentation for validation; empty: none")


class FolderSection(Section):
    """A folder of images and a CSV of labels."""

    root: str = setting("data/photos", "the folder that holds the images; every path in the CSV is relative to it")
    labels: str = setting(
        "labels.csv",
        "CSV: `image,labels` (names joined by ;) or `image` and one 0/1 column a class; optional `split`, `mask`",
    )
    classes: list[str] = setting(
        [], "class names in order (ids 1..C); empty: taken from the CSV, sorted or in column order"
    )
    masks: str = setting("", "folder of truth masks IMAGE_ID.png, for evaluation only; empty: none")


class CocoSection(Section):
    """MS COCO: instances files and folders of images, in the layouts of 2014 and 2017."""

    root: str = setting("data/coco", "the folder that holds annotations and images; the keys below are relative to it")
    train_annotations: str = setting(
        "annotations/instances_train2014.json", "instances file of the training images", min_length=1
    )
    train_images: str = setting("train2014", "folder of the training images")
    val_annotations: str = setting(
        "annotations/instances_val2014.json", "instances file of the validation images; empty: none"
    )
    val_images: str = setting("val2014", "folder of the validation images")
    classes: list[str] = setting(
        [],
        "categories to use, in order (ids 1..C); empty: all, by category id. Objects of others are background; images "
        "with no object of these are left out",
    )


class DatasetSection(KindSection):
    """Which images, and where their labels come from."""

    built_in = tuple(DATASETS)
    kind: str = setting("scenes", "source of the images: scenes, voc, folder, coco, or a kind of another package")
    scenes: ScenesSection = setting(ScenesSection(), read_if={"kind": "scenes"})
    voc: VocSection = setting(VocSection(), read_if={"kind": "voc"})
    folder: FolderSection = setting(FolderSection(), read_if={"kind": "folder"})
    coco: CocoSection = setting(CocoSection(), read_if={"kind": "coco"})
    custom: dict[str, dict[str, Any]] = setting(
        {}, "settings of kinds that other packages add, by kind; they check them (docs/DATA.md)", read_key="kind"
    )

    @classmethod
    def kinds(cls) -> Collection[str]:
        """The kinds of data sets that are installed."""
        return dataset_kinds()

    @property
    def place(self) -> str:
        """`module:class` of the chosen kind."""
        return dataset_kinds()[self.kind]


class BarrierSection(Section):
    """Minimum barrier distance to the image's border (unsupervised)."""

    passes: int = setting(3, "raster scans", source="Zhang et al., ICCV 2015: 3", ge=1, le=20)
    colour: Literal["lab", "rgb"] = setting("lab", "colour space of the distance", source="Zhang et al., ICCV 2015")
    backgroundness: bool = setting(
        True, "add the border-cluster Mahalanobis cue (MB+)", source="Zhang et al., ICCV 2015"
    )


class U2netSection(Section):
    """U^2-Net-p by onnxruntime (trained on the pixel masks of DUTS-TR)."""

    weights: str = setting(
        "auto",
        "path of u2netp.onnx, or auto: the cache ($WSSS_CACHE or ~/.cache/wsss), then a download; "
        "checked by its sha256",
    )


class SaliencyFolderSection(Section):
    """Given saliency maps."""

    root: str = setting("data/saliency", "folder of IMAGE_ID.png, 8-bit grey, 255 = salient")


class SaliencySection(KindSection):
    """The saliency cue."""

    built_in = tuple(SALIENCY)
    kind: str = setting("barrier", "how saliency is made: barrier, u2net, folder, none, or a kind of another package")
    barrier: BarrierSection = setting(BarrierSection(), read_if={"kind": "barrier"})
    u2net: U2netSection = setting(U2netSection(), read_if={"kind": "u2net"})
    folder: SaliencyFolderSection = setting(SaliencyFolderSection(), read_if={"kind": "folder"})
    custom: dict[str, dict[str, Any]] = setting(
        {}, "settings of kinds that other packages add, by kind; they check them (docs/DATA.md)", read_key="kind"
    )

    @classmethod
    def kinds(cls) -> Collection[str]:
        """The kinds of saliency that are installed."""
        return saliency_kinds()

    @property
    def place(self) -> str:
        """`module:class` of the chosen kind; empty for none."""
        return saliency_kinds()[self.kind].place
