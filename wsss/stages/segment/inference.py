"""A trained segmenter on one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from wsss.files.artefacts import ArtefactError
from wsss.files.imaging import normalise, resize_image, resize_maps
from wsss.files.limits import MOST_NAME
from wsss.nets.checkpoints import MOST_CLASSES, load_network
from wsss.nets.segmenters import Segmenter, build_segmenter
from wsss.settings.sections import PredictSection, PslSection
from wsss.settings.stage_settings import SegmenterSettings
from wsss.stages.segment.psl import class_scores, stricter, weigh


@dataclass(frozen=True, kw_only=True)
class TrainedSegmenter:
    """A network, ready to predict.

    Attributes:
        model: On its device.
        class_names: By id, background first.
        settings: It was trained with these.
        device: Where it is.
    """

    model: Segmenter
    class_names: list[str]
    settings: SegmenterSettings
    device: torch.device


def load_segmenter(path: Path, *, device: torch.device) -> TrainedSegmenter:
    """Build a segmenter from its file.

    Args:
        path: segmenter.safetensors.
        device: Where to put it.

    Returns:
        The segmenter, in evaluation mode.

    Raises:
        ArtefactError: If the file is no segmenter of this package.
    """
    state, meta = load_network(path)
    if meta.get("stage") != "train_segmenter":
        raise ArtefactError(
            f"{path}: holds a network of stage {meta.get('stage')!r}, expected a segmenter (segmenter.safetensors)"
        )
    settings, names = _description(path, meta)
    backbone = settings.backbone.model_copy(update={"weights": "none"})
    model = build_segmenter(network=settings.network, weights="none", backbone=backbone, num_classes=len(names) - 1)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ArtefactError(
            f"{path}: its weights do not fit the network that it names ({str(error).splitlines()[-1].strip()[:200]}); train it again"
        ) from None
    model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return TrainedSegmenter(model=model, class_names=names, settings=settings, device=device)


def _description(path: Path, meta: Mapping[str, Any]) -> tuple[SegmenterSettings, list[str]]:
    """Settings and class names that the file says it was trained with."""
    try:
        names = meta["classes"]
        if (
            not isinstance(names, list)
            or not 2 <= len(names) <= MOST_CLASSES + 1
            or not all(isinstance(n, str) and len(n) <= MOST_NAME for n in names)
        ):
            raise ValueError("its classes are no list of names")
        return SegmenterSettings.model_validate(meta["settings"]), names
    except (KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtefactError(
            f"{path}: says of itself what this version does not know ({reason}); train it again"
        ) from None


@torch.inference_mode()
def probabilities(
    segmenter: TrainedSegmenter,
    image_u8: np.ndarray,
    *,
    psl: PslSection,
    predict: PredictSection,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Class probabilities, mean over scales and flips, weighted as PSL's test phase says.

    Args:
        segmenter: The network.
        image_u8: (H, W, 3) uint8.
        psl: Whether and how score maps are weighted.
        predict: Scales and flip.
        labels: (C,) multi-hot, for test_weighting labels; without it the predicted scores weigh.

    Returns:
        (C + 1, h, w) float32 on the network's grid at scale 1, whose cells divide the image evenly (half-pixel centres); sums to 1 over classes.

    Raises:
        ValueError: If psl weights by predicted scores and the network was trained without PSL: its classification branch has learnt nothing.
    """
    if psl.enabled and psl.test_weighting == "predicted" and not segmenter.settings.psl.enabled:
        raise ValueError(
            "psl.test_weighting is 'predicted', but this segmenter was trained with psl.enabled false and has no class scores; use none, or train with PSL"
        )

    model, (height, width) = segmenter.model, image_u8.shape[:2]
    grid = (-(-height // model.stride), -(-width // model.stride))
    maps, scores = [], []
    for scale in predict.scales:
        scaled = (
            image_u8
            if scale == 1
            else resize_image(image_u8, size=(max(32, round(height * scale)), max(32, round(width * scale))))
        )
        padded = _padded(scaled, multiple=model.multiple)
        share = (scaled.shape[0] / padded.shape[0], scaled.shape[1] / padded.shape[1])
        for mirrored in (False, True) if predict.flip else (False,):
            image_n = torch.from_numpy(normalise(padded[:, ::-1] if mirrored else padded, model.normalisation)).to(
                segmenter.device
            )
            logits, class_logits = model(image_n[None].contiguous(memory_format=torch.channels_last))
            f = logits.float().softmax(1)
            maps.append(_sampled(f.flip(-1) if mirrored else f, size=grid, share=share))
            scores.append(class_scores(class_logits.float(), kind=psl.score))
    f = torch.stack(maps).mean(0)
    if psl.enabled and psl.test_weighting != "none":
        v = stricter(torch.stack(scores).mean(0), p=psl.test_p)
        if psl.test_weighting == "labels" and labels is not None:
            v = torch.from_numpy(labels.astype(np.float32))[None].to(f.device)
        f = weigh(f, v)
    return f[0].cpu().numpy()


def _padded(image_u8: np.ndarray, *, multiple: int) -> np.ndarray:
    """The image with its last row and column repeated up to sides that are multiples of `multiple`."""
    height, width = image_u8.shape[:2]
    return np.pad(image_u8, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode="edge")


def _sampled(maps: torch.Tensor, *, size: tuple[int, int], share: tuple[float, float]) -> torch.Tensor:
    """Maps (1, K, h, w) of a padded image on an even grid of `size` over the upper left `share` of it that is the image, bilinear."""
    if share == (1.0, 1.0) and maps.shape[2:] == size:
        return maps
    y, x = (2 * part * (torch.arange(n, device=maps.device) + 0.5) / n - 1 for n, part in zip(size, share, strict=True))
    points = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
    return F.grid_sample(maps, points, mode="bilinear", padding_mode="border", align_corners=False)


def full_mask(probabilities: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """The class of every pixel: argmax of bilinearly enlarged probabilities.

    Args:
        probabilities: (C + 1, h, w) float32.
        size: (H, W) of the image.

    Returns:
        (H, W) uint8; the lower class where two are equal.
    """
    # one class at a time: 21 maps of a 12-megapixel photograph would be 1 GB
    best, mask = resize_maps(probabilities[:1], size=size)[0], np.zeros(size, np.uint8)
    for k in range(1, len(probabilities)):
        plane = resize_maps(probabilities[k : k + 1], size=size)[0]
        above = plane > best
        mask[above] = k
        np.maximum(best, plane, out=best)
    return mask
