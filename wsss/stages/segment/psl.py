"""Prohibitive segmentation learning (AE-PSL, Wei et al., CVPR 2017, section 3.2). Pure.

Shape legend: N images, C foreground classes, c×c crop, h×w score grid. Score maps have background first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F

from wsss.files.mask_values import IGNORE
from wsss.settings.sections import PslSection


def class_scores(class_logits: torch.Tensor, *, kind: Literal["softmax", "sigmoid"]) -> torch.Tensor:
    """v: (N, C) logits of the classification branch to scores in [0, 1]."""
    logits = class_logits.float()
    return logits.softmax(-1) if kind == "softmax" else logits.sigmoid()


def with_background(v: torch.Tensor) -> torch.Tensor:
    """[1, v]: (N, C) to (N, C + 1); the background passes unweighted."""
    return torch.cat([torch.ones_like(v[..., :1]), v], dim=-1)


def weigh(probabilities: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """[1, v] ⊗ f, normalised to sum to 1 over classes (a dense CRF needs probabilities).

    Args:
        probabilities: (N, C + 1, h, w) in [0, 1].
        v: (N, C) in [0, 1].

    Returns:
        (N, C + 1, h, w).
    """
    weighted = probabilities * with_background(v)[..., None, None]
    return weighted / weighted.sum(1, keepdim=True).clamp(min=1e-12)


@torch.no_grad()
def online_mask(score_maps: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Ŝ = argmax over classes of [1, v] ⊗ f. It is a target without a gradient.

    Args:
        score_maps: (N, C + 1, h, w) logits; f is their softmax. Logits themselves may be negative, and v < 1 would
            raise those.
        v: (N, C) class scores.

    Returns:
        (N, h, w) int64.
    """
    return weigh(score_maps.float().softmax(1), v).argmax(1)


def to_grid(mask: torch.Tensor, *, size: tuple[int, int]) -> torch.Tensor:
    """Masks (N, c, c) uint8 or bool, sampled at the centres of the score grid's cells: (N, h, w) int64.

    The paper samples them at 41 x 41.
    """
    return F.interpolate(mask[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()


def segmentation_loss(score_maps: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """J(f, S) = - 1/sum_c |S_c| sum_{c in O^seg} sum_{u in S_c} log f_{u,c}.

    Each image has the mean over its own labelled pixels; the loss is the mean of these.

    Args:
        score_maps: (N, C + 1, h, w) logits; f is their softmax.
        mask: (N, h, w) int64: 0..C, 255. Neither sum nor normaliser counts pixels of 255, or of classes that are not
            among the image's labels.
        labels: (N, C) multi-hot.

    Returns:
        Scalar, the mean over the images of which any pixel counts; 0 (with a gradient of 0) if there is none.
    """
    own = with_background(labels) > 0
    known = mask < score_maps.shape[1]
    target = torch.where(known, mask, torch.zeros_like(mask))
    counts = known & own.gather(1, target.flatten(1)).view_as(mask)
    losses = F.cross_entropy(score_maps, target, reduction="none") * counts
    pixels = counts.sum((1, 2))
    each = losses.sum((1, 2)) / pixels.clamp(min=1)
    return each.sum() / (pixels > 0).sum().clamp(min=1)


def classification_loss(
    class_logits: torch.Tensor, labels: torch.Tensor, *, kind: Literal["softmax", "sigmoid"]
) -> torch.Tensor:
    """Loss of the classification branch, a scalar.

    Softmax scores have the paper's squared loss 1/(2N) sum (v - y/|y|_1)^2, sigmoid ones the multi-label soft margin.
    """
    if kind == "sigmoid":
        return F.multilabel_soft_margin_loss(class_logits.float(), labels)
    target = labels / labels.sum(1, keepdim=True).clamp(min=1)
    return 0.5 * (class_logits.float().softmax(1) - target).square().sum(1).mean()


def psl_losses(
    outputs: tuple[torch.Tensor, torch.Tensor], batch: Mapping[str, Any], *, settings: PslSection
) -> dict[str, torch.Tensor]:
    """Named losses of a step: J(f, S), and with PSL J(f, Ŝ) and the classification loss.

    Args:
        outputs: Score maps (N, C + 1, h, w) and class logits (N, C).
        batch: labels (N, C) float32 and mask (N, c, c) uint8. Where crops are padded also inside (N, c, c) float32,
            which is 1 on the image: Ŝ labels every pixel of the image, none of the padding. If given, progress is
            the share of the training done, in [0, 1): Ŝ does not count before settings.warmup.
        settings: The section.

    Returns:
        Scalars: seed, and if PSL is enabled online and classification.
    """
    score_maps, class_logits = (o.float() for o in outputs)
    labels = batch["labels"]
    size = (score_maps.shape[2], score_maps.shape[3])
    out = {"seed": segmentation_loss(score_maps, to_grid(batch["mask"], size=size), labels)}
    if settings.enabled:
        predicted = class_scores(class_logits, kind=settings.score)
        v = {"predicted": predicted, "labels": labels, "none": torch.ones_like(labels)}[settings.train_weighting]
        online = online_mask(score_maps, v)
        if "inside" in batch:
            online = torch.where(to_grid(batch["inside"] > 0.5, size=size) > 0, online, IGNORE)
        warm = batch.get("progress", 1.0) >= settings.warmup
        out["online"] = segmentation_loss(score_maps, online, labels) * float(warm)
        classification = classification_loss(class_logits, labels, kind=settings.score)
        out["classification"] = settings.classification_weight * classification
    return out


def stricter(v: torch.Tensor, *, p: float) -> torch.Tensor:
    """Test phase: scores v (N, C) below p become 0, others stay (AE-PSL: p = 0.1)."""
    return torch.where(v < p, torch.zeros_like(v), v)
