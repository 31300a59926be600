"""A trained segmenter on one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from wsss.files.errors import ArtefactError
from wsss.files.imaging import normalise, resize_image, resize_maps
from wsss.files.limits import MOST_NAME
from wsss.files.mask_values import MOST_CLASSES
from wsss.nets.checkpoints import load_network
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
        settings: Those of its training.
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
    if (stage := meta.get("stage")) != "train_segmenter":
        raise ArtefactError(f"{path}: holds a network of stage {stage!r}, expected a segmenter (segmenter.safetensors)")
    settings, names = _description(path, meta)
    backbone = settings.backbone.model_copy(update={"weights": "none"})
    model = build_segmenter(network=settings.network, weights="none", backbone=backbone, num_classes=len(names) - 1)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        found = str(error).splitlines()[-1].strip()[:200]
        message = f"{path}: its weights do not fit the network that it names ({found}); train it again"
        raise ArtefactError(message) from None
    model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return TrainedSegmenter(model=model, class_names=names, settings=settings, device=device)


def _description(path: Path, meta: Mapping[str, Any]) -> tuple[SegmenterSettings, list[str]]:
    """Settings and class names that the file says it was trained with."""
    try:
        names = meta["classes"]
        count = len(names) if isinstance(names, list) else 0
        if not 2 <= count <= MOST_CLASSES + 1 or not all(isinstance(n, str) and len(n) <= MOST_NAME for n in names):
            raise ValueError("its classes are no list of names")
        return SegmenterSettings.model_validate(meta["settings"]), names
    except (KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        message = f"{path}: this version does not know what the file says of itself ({reason}); train it again"
        raise ArtefactError(message) from None


@torch.inference_mode()
def probabilities(
    segmenter: TrainedSegmenter,
    image_u8: np.ndarray,
    *,
    psl: PslSection,
    predict: PredictSection,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Class probabilities, the mean over scales and flips, weighted as PSL's test phase says.

    Args:
        segmenter: The network.
        image_u8: (H, W, 3) RGB uint8.
        psl: Whether and how score maps are weighted.
        predict: Scales and flip.
        labels: (C,) multi-hot, for test_weighting labels; without it the predicted scores weigh.

    Returns:
        (C + 1, h, w) float32 on the network's grid at scale 1; sums to 1 over classes. Its cells divide the image
        evenly (half-pixel centres).

    Raises:
        ValueError: If psl weights by predicted scores and the network was trained without PSL. Then its
            classification branch has learnt nothing.
    """
    if psl.enabled and psl.test_weighting == "predicted" and not segmenter.settings.psl.enabled:
        found = "psl.test_weighting is 'predicted', but this segmenter was trained with psl.enabled false"
        raise ValueError(f"{found} and has no class scores; use none, or train with PSL")
    grid = tuple(-(-side // segmenter.model.stride) for side in image_u8.shape[:2])
    maps, scores = [], []
    for scale in predict.scales:
        scaled = _scaled(image_u8, scale=scale)
        padded = _padded(scaled, multiple=segmenter.model.multiple)
        share = (scaled.shape[0] / padded.shape[0], scaled.shape[1] / padded.shape[1])
        for mirrored in (False, True) if predict.flip else (False,):
            logits, class_logits = _forward(segmenter, padded[:, ::-1] if mirrored else padded)
            f = logits.float().softmax(1)  # (1, C + 1, h', w')
            maps.append(_sampled(f.flip(-1) if mirrored else f, size=grid, share=share))  # (1, C + 1, h, w)
            scores.append(class_scores(class_logits.float(), kind=psl.score))  # (1, C)
    f = torch.stack(maps).mean(0)
    if psl.enabled and psl.test_weighting != "none":
        v = stricter(torch.stack(scores).mean(0), p=psl.test_p)
        if psl.test_weighting == "labels" and labels is not None:
            v = torch.from_numpy(labels.astype(np.float32))[None].to(f.device)
        f = weigh(f, v)
    return f[0].cpu().numpy()


def _scaled(image_u8: np.ndarray, *, scale: float) -> np.ndarray:
    """The image at a scale, no side under 32 px."""
    height, width = image_u8.shape[:2]
    size = (max(32, round(height * scale)), max(32, round(width * scale)))
    return image_u8 if scale == 1 else resize_image(image_u8, size=size)


def _forward(segmenter: TrainedSegmenter, image_u8: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Score maps (1, C + 1, h, w) and class logits (1, C) of one image."""
    image_n = torch.from_numpy(normalise(image_u8, segmenter.model.normalisation)).to(segmenter.device)
    outputs: tuple[torch.Tensor, torch.Tensor] = segmenter.model(
        image_n[None].contiguous(memory_format=torch.channels_last)
    )
    return outputs


def _padded(image_u8: np.ndarray, *, multiple: int) -> np.ndarray:
    """The image with its last row and column repeated up to sides that are multiples of `multiple`."""
    height, width = image_u8.shape[:2]
    return np.pad(image_u8, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode="edge")


def _sampled(maps: torch.Tensor, *, size: tuple[int, ...], share: tuple[float, float]) -> torch.Tensor:
    """Maps of a padded image, (1, K, h, w), on an even grid over the image alone, bilinear.

    `size` is the grid's height and width, `share` the part of the padded image's height and width that is the image.
    """
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
    # one class at a time: 21 maps of a photograph of 12 megapixels would take 1 GB
    best, mask = resize_maps(probabilities[:1], size=size)[0], np.zeros(size, np.uint8)
    for k in range(1, len(probabilities)):
        plane = resize_maps(probabilities[k : k + 1], size=size)[0]
        above = plane > best
        mask[above] = k
        np.maximum(best, plane, out=best)
    return mask
