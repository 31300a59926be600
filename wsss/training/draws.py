"""Random draws keyed on their purpose (no torch): results do not depend on shards, workers or order."""

from __future__ import annotations

import hashlib

import numpy as np


def key(seed: int, *parts: str | int) -> int:
    """Give a 63-bit number for a seed and a purpose.

    Args:
        seed: Of the models or the data.
        parts: What the draw is for, e.g. "train_classifier", round, epoch, image_id.

    Example:
        >>> key(0, "train_classifier", 1) == key(0, "train_classifier", 1) != key(0, "train_classifier", 2)
        True
    """
    text = "\x1f".join(str(p) for p in (seed, *parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *parts: str | int) -> np.random.Generator:
    """Give a NumPy generator for a seed and a purpose, as `key` does."""
    return np.random.default_rng(key(seed, *parts))
