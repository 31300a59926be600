"""Settings of instance masks."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from wsss.settings.base import Section, setting


def _check_areas(least: float, most: float) -> None:
    if least >= most:
        raise ValueError(f"min_area {least} is not below max_area {most}")


class WatershedSection(Section):
    """Proposals by hierarchical watershed; no training, no files."""

    smoothings: list[float] = setting(
        [0.0, 1.0],
        "standard deviations of the Gaussians that smooth the image, a hierarchy for each; 0: no smoothing",
        unit="px",
        source="ours: 82 % of the scenes' objects have a proposal with IoU 0.5; 78 % and 69 % with one of the two only "
        "(docs/BENCHMARKS.md)",
        min_length=1,
    )
    count: int = setting(
        300,
        "largest number for each image",
        unit="masks",
        source="ours; PRM's code: 100 of ranked ones",
        ge=1,
        le=10_000,
    )
    min_area: float = setting(
        0.0005, "smallest proposal, as a share of the image", source="ours; PRM's code: 0.00002", ge=0, lt=1
    )
    max_area: float = setting(0.85, "largest proposal, as a share of the image", source="PRM's code: 0.85", gt=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> WatershedSection:
        if bad := [s for s in self.smoothings if not 0 <= s <= 20]:
            raise ValueError(f"smoothings {bad} are outside 0..20")
        _check_areas(self.min_area, self.max_area)
        return self


class ProposalFolderSection(Section):
    """Precomputed proposals."""

    root: str = setting("", "folder of IMAGE_ID.json (a list of COCO segmentations) or IMAGE_ID.mat (MCG, COB) files")
    count: int = setting(
        200,
        "number of proposals used: the first of a file that are within the areas below",
        unit="masks",
        source="PRM's demonstration has 200 for each image",
        ge=1,
        le=10_000,
    )
    min_area: float = setting(
        0.00002,
        "smaller proposals are left out; 0 keeps all",
        unit="share of the image",
        source="PRM's code: 0.00002",
        ge=0,
        lt=1,
    )
    max_area: float = setting(
        0.85,
        "proposals of this size or larger are left out; above 1 keeps all",
        unit="share of the image",
        source="PRM's code: 0.85",
        gt=0,
        le=2,
    )

    @model_validator(mode="after")
    def _ordered(self) -> ProposalFolderSection:
        _check_areas(self.min_area, self.max_area)
        return self


class ProposalsSection(Section):
    """Mask proposals, for the route proposals."""

    kind: Literal["watershed", "folder", "truth"] = setting(
        "watershed",
        "watershed; folder: precomputed ones; truth: the true instances, to see what perfect proposals would give",
        source="ours; PRM: MCG, which was trained on masks",
    )
    watershed: WatershedSection = WatershedSection()
    folder: ProposalFolderSection = ProposalFolderSection()

    @property
    def own(self) -> Section | None:
        """The settings of the chosen kind; None if it has none."""
        return getattr(self, self.kind, None)


class RetrievalSection(Section):
    """Which proposal belongs to a peak, and which instances stay."""

    instance: float = setting(
        0.8,
        "weight of the response's share inside (alpha); 0 switches it off",
        source="code's demonstration",
        ge=0,
        le=1000,
    )
    boundary: float = setting(
        1.0, "weight of the response's share on the contour; 0 switches it off", source="paper: 1", ge=0, le=1000
    )
    class_penalty: float = setting(
        2.0,
        "penalty of the image's share that is inside but background of the class (beta times the number of pixels); "
        "0 switches it off",
        source="code's demonstration: 0.00001 for each pixel of 448 x 448; the paper's choice is not confirmed",
        ge=0,
        le=1000,
    )
    background_factor: float = setting(
        0.95,
        "background of a class: where its map, stretched to 0..1, is below this multiple of its mean",
        source="code's demonstration",
        ge=0,
        le=10,
    )
    background: Literal["map", "saliency"] = setting(
        "map",
        "what is penalised: map: where the class's map is low; saliency: there, and wherever nothing is salient "
        "(needs saliency.kind)",
        source="map: paper, code; saliency: ours",
    )
    saliency_threshold: float = setting(
        0.06,
        "background saliency: saliency below this is background of every class",
        source="AE-PSL: 0.06",
        read_if={"background": "saliency"},
        ge=0,
        le=1,
    )
    contour_width: int = setting(
        5, "side of the square that makes contours; odd", unit="px", source="code: 5, at 448 x 448", ge=3, le=99
    )
    overlap: float = setting(
        0.3,
        "an instance whose IoU with a better one reaches this is left out; above 1 keeps all",
        source="code: 0.3",
        gt=0,
        le=2,
    )
    within_class: bool = setting(
        False, "only instances of one class suppress each other", source="code: false; paper: not confirmed"
    )

    @model_validator(mode="after")
    def _odd(self) -> RetrievalSection:
        if self.contour_width % 2 == 0:
            raise ValueError(f"contour_width {self.contour_width} has no centre; expected an odd number")
        return self


class InstancesSection(Section):
    """Instance masks of the training images."""

    methods: list[str] = setting([], "methods whose peaks or masks become instances (part of `methods`)")
    route: Literal["proposals", "components"] = setting(
        "proposals",
        "proposals: each peak takes the proposal that fits its response best; components: each component of the final "
        "masks that has a peak is an instance, split if it has several. Without peaks every component is one",
        source="proposals: PRM; components: BESTIE (one peak), the split is ours",
    )
    response_scale: float = setting(
        2.0, "image scale at which peaks are found and traced back", source="ours; code: 448 x 448", ge=0.1, le=8
    )
    min_area: float = setting(
        0.001, "components smaller than this share of the image are left out", source="ours; IRN: 0.01", ge=0, lt=1
    )
    proposals: ProposalsSection = ProposalsSection()
    retrieval: RetrievalSection = RetrievalSection()
