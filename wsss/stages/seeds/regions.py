"""What a round claims, and how rounds are put together. Pure.

Shape legend: K present classes, h×w feature grid, H×W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from wsss.files.imaging import resize_maps


def claim(
    scores: np.ndarray,
    *,
    size: tuple[int, int],
    rel_threshold: float,
    normalise: Literal["signed_max", "relu_max", "minmax"],
) -> np.ndarray:
    """The region of each class: where its map, upsampled, exceeds a share of its maximum (AE-PSL, Algorithm 1, line 8).

    Args:
        scores: (K, h, w) raw signed maps.
        size: (H, W) of the image.
        rel_threshold: The share t, in (0, 1).
        normalise: signed_max and relu_max: s > t max(s), on the signed map or the one clipped at 0 (equal for t > 0);
            minmax: (s - min) / (max - min) > t.

    Returns:
        (K, H, W) bool. A map that is nowhere positive claims nothing, nor does a flat one with minmax.
    """
    maps = resize_maps(scores.astype(np.float32), size=size)
    out = np.zeros(maps.shape, bool)
    for k, plane in enumerate(maps):
        top = float(plane.max(initial=-np.inf))
        if top <= 0:
            continue
        low = float(plane.min()) if normalise == "minmax" else 0.0
        out[k] = (np.maximum(plane, 0) if normalise == "relu_max" else plane) > low + rel_threshold * (top - low)
    return out


def unite(regions: Sequence[np.ndarray]) -> np.ndarray:
    """Union over rounds of (K, H, W) bool regions."""
    return np.logical_or.reduce(np.stack(regions))


def fuse_scores(rounds: Sequence[np.ndarray], *, later_weight: float) -> np.ndarray:
    """Maximum over rounds t of later_weight^(t-1) relu(s_t) / max(s_t), per class.

    Args:
        rounds: (K, h, w) raw maps of rounds 1..T.
        later_weight: Weight of each further round, in (0, 1].

    Returns:
        (K, h, w) float32 in [0, 1]; 0 for a class whose maps are nowhere positive.
    """
    return np.max(np.stack([later_weight**t * max_normalise(s) for t, s in enumerate(rounds)]), axis=0)


def fuse_weighted(rounds: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Weighted mean over rounds of relu(s_t) / max(s_t), per class.

    Args:
        rounds: (K, h, w) raw maps of rounds 1..T.
        weights: T numbers, not negative, not all 0.

    Returns:
        (K, h, w) float32 in [0, 1].

    Raises:
        ValueError: If there are not as many weights as rounds.
    """
    if len(rounds) != len(weights):
        raise ValueError(f"seeds.fuse.weights has {len(weights)} weights for {len(rounds)} rounds; give one a round")
    return np.average(np.stack([max_normalise(s) for s in rounds]), axis=0, weights=weights).astype(np.float32)


def fuse_probabilities(
    rounds: Sequence[np.ndarray], backgrounds: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """What the rounds' networks say together: a class is as likely as in its best round, the background as in its worst.

    Args:
        rounds: (K, h, w) probabilities of the classes, rounds 1..T.
        backgrounds: (h, w) probabilities of the background.

    Returns:
        (K, h, w) and (h, w) float32.
    """
    return np.max(np.stack(rounds).astype(np.float32), axis=0), np.min(np.stack(backgrounds).astype(np.float32), axis=0)


def max_normalise(scores: np.ndarray) -> np.ndarray:
    """relu(s) / max(s) of each plane (K, ...), float32; zero stays zero (IRN's normalisation)."""
    positive = np.maximum(scores.astype(np.float32), 0)
    top = positive.max(axis=tuple(range(1, positive.ndim)), keepdims=True, initial=0)
    return np.divide(positive, top, out=np.zeros_like(positive), where=top > 0)
