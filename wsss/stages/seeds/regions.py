"""What a round claims, and how rounds are put together. Pure.

Shape legend: K present classes, T rounds, h×w score grid, H×W image.
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
    """Claim each class's region: where its map, upsampled, exceeds a share of its maximum (AE-PSL, Algorithm 1).

    Args:
        scores: (K, h, w) raw signed maps.
        size: (H, W) of the image.
        rel_threshold: The share t, in (0, 1).
        normalise: What the share is of. signed_max: s > t max(s). relu_max: the same of the map clipped at 0, which is
            equal for t > 0. minmax: (s - min) / (max - min) > t.

    Returns:
        (K, H, W) bool. A map that is nowhere positive claims nothing, nor does a flat one with minmax.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[[4.0, 1.0, -2.0]]])
        >>> claim(scores, size=(1, 3), rel_threshold=0.2, normalise="signed_max").tolist()  # above 0.8
        [[[True, True, False]]]
        >>> claim(scores, size=(1, 3), rel_threshold=0.6, normalise="minmax").tolist()  # above -2 + 0.6 * 6
        [[[True, False, False]]]
    """
    maps = resize_maps(scores.astype(np.float32), size=size)  # (K, H, W)
    out = np.zeros(maps.shape, bool)
    for k, plane in enumerate(maps):
        top = float(plane.max(initial=-np.inf))
        if top <= 0:
            continue
        low = float(plane.min()) if normalise == "minmax" else 0.0
        out[k] = (np.maximum(plane, 0) if normalise == "relu_max" else plane) > low + rel_threshold * (top - low)
    return out


def unite(regions: Sequence[np.ndarray]) -> np.ndarray:
    """Take the union over rounds of (K, H, W) bool regions (AE-PSL, Algorithm 1: F_i).

    Example:
        >>> import numpy as np
        >>> unite([np.array([[[True, False]]]), np.array([[[False, False]]])]).tolist()
        [[[True, False]]]
    """
    return np.logical_or.reduce(np.stack(regions))


def fuse_scores(rounds: Sequence[np.ndarray], *, later_weight: float) -> np.ndarray:
    """Take the maximum over rounds t of later_weight^(t-1) relu(s_t) / max(s_t), per class.

    Args:
        rounds: T maps (K, h, w), raw.
        later_weight: Weight of each further round, in (0, 1].

    Returns:
        (K, h, w) float32 in [0, 1]; 0 for a class whose maps are nowhere positive.

    Example:
        >>> import numpy as np
        >>> fuse_scores([np.array([[[8.0, 2.0]]]), np.array([[[0.0, 3.0]]])], later_weight=0.5).tolist()
        [[[1.0, 0.5]]]
    """
    return np.max(np.stack([later_weight**t * relu_over_max(s) for t, s in enumerate(rounds)]), axis=0)


def fuse_weighted(rounds: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Take the weighted mean over rounds of relu(s_t) / max(s_t), per class.

    Args:
        rounds: T maps (K, h, w), raw.
        weights: T numbers, not negative, not all 0.

    Returns:
        (K, h, w) float32 in [0, 1].

    Raises:
        ValueError: If there are not as many weights as rounds.

    Example:
        >>> import numpy as np
        >>> fuse_weighted([np.array([[[8.0, 2.0]]]), np.array([[[0.0, 3.0]]])], [3, 1]).tolist()
        [[[0.75, 0.4375]]]
    """
    if len(rounds) != len(weights):
        raise ValueError(f"seeds.fuse.weights has {len(weights)} weights for {len(rounds)} rounds; give one a round")
    return np.average(np.stack([relu_over_max(s) for s in rounds]), axis=0, weights=weights).astype(np.float32)


def fuse_probabilities(
    rounds: Sequence[np.ndarray], backgrounds: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Combine probabilities: a class is as likely as in its best round, the background as in its worst.

    Args:
        rounds: T maps (K, h, w), probabilities of the classes.
        backgrounds: T maps (h, w), probabilities of the background.

    Returns:
        (K, h, w) and (h, w) float32.
    """
    classes = np.max(np.stack(rounds).astype(np.float32), axis=0)
    return classes, np.min(np.stack(backgrounds).astype(np.float32), axis=0)


def relu_over_max(scores: np.ndarray) -> np.ndarray:
    """Divide relu(s) by its exact maximum, plane by plane; a plane that is nowhere positive becomes 0.

    IRN adds 1e-5 to the maximum, so its maps stay below 1. Here the maximum becomes 1.

    Args:
        scores: (K, ...) raw signed maps.

    Returns:
        (K, ...) float32 in [0, 1].
    """
    positive = np.maximum(scores.astype(np.float32), 0)
    top = positive.max(axis=tuple(range(1, positive.ndim)), keepdims=True, initial=0)  # (K, 1, ...)
    return np.divide(positive, top, out=np.zeros_like(positive), where=top > 0)
