"""Settings of seed masks and their refinement."""

from __future__ import annotations

from typing import Literal

from wsss.settings.base import Section, setting


class SeedMaskSection(Section):
    """From fused regions or scores and a background cue to seed masks."""

    kind: Literal["regions", "scores"] = setting(
        "regions",
        "regions: the paper's truth table; scores: argmax over max-normalised scores and a background score",
        source="AE-PSL 3; the field",
    )
    cue: Literal["saliency", "constant", "network"] = setting(
        "saliency",
        "background score for kind scores: saliency: 1 - saliency; constant: `background`; network: the method's own "
        "background map (EPS). Kind regions needs saliency",
        source="AE-PSL: saliency; EPS's code: constant, 0.2",
    )
    region_threshold: float = setting(
        0.65,
        "regions: an object is where the fused score exceeds this; 0: where a round claims (seeds.claim.rel_threshold)",
        source="ours: rounds learn if they erase little, but masks are better if they claim more (docs/RESULTS.md); "
        "AE-PSL: 0",
        read_if={"kind": "regions"},
        ge=0,
        lt=1,
    )
    saliency_threshold: float = setting(
        0.06,
        "regions: saliency below this is background",
        source="AE-PSL: 0.06 (on DRFI maps)",
        read_if={"kind": "regions"},
        ge=0,
        le=1,
    )
    background: float = setting(
        0.3,
        "kind scores, cue constant: the background score",
        source="ours, within the field's 0.15..0.35",
        read_if={"cue": "constant"},
        ge=0,
        le=1,
    )


CUSTOM = {"preset": "custom"}


class CrfSection(Section):
    """Dense CRF (Krähenbühl and Koltun, NeurIPS 2011), in its symbols."""

    preset: Literal["sec", "largefov", "deeplabv2", "irn", "custom"] = setting(
        "largefov",
        "published settings: sec (80/13/10), largefov (121/5/4), deeplabv2 (67/3/4), irn (50/5/10); "
        "custom: the keys below",
        source="DeepLab-LargeFOV, the paper's network; best of the four on the scenes' seeds (docs/RESULTS.md)",
    )
    theta_alpha: float = setting(
        80.0, "custom: bilateral spatial width", unit="px", source="SEC", read_if=CUSTOM, gt=0, le=1000
    )
    theta_beta: float = setting(
        13.0, "custom: bilateral colour width", unit="grey levels", source="SEC", read_if=CUSTOM, gt=0, le=255
    )
    theta_gamma: float = setting(
        3.0, "custom: Gaussian spatial width", unit="px", source="SEC", read_if=CUSTOM, gt=0, le=1000
    )
    w_bilateral: float = setting(10.0, "custom: bilateral weight", source="SEC", read_if=CUSTOM, ge=0, le=1000)
    w_gaussian: float = setting(3.0, "custom: Gaussian weight", source="SEC", read_if=CUSTOM, ge=0, le=1000)
    iterations: int = setting(10, "mean-field iterations", source="all published settings", ge=1, le=100)
    label_confidence: float = setting(
        0.7, "probability of a hard label in the unary; 255 is uniform", source="IRN gt_prob", gt=0, lt=1
    )


class PseudoSection(Section):
    """Seed masks and their refinement."""

    seed: SeedMaskSection = SeedMaskSection()
    refine: Literal["crf", "none"] = setting(
        "none",
        "refinement of the masks of cycle 0; later cycles always use the CRF",
        source="AE-PSL: none for cycle 0; the field: crf",
    )
    crf: CrfSection = CrfSection()
