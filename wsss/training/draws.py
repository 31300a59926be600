"""Random draws keyed on what they are for (no torch): results do not depend on shards, workers or order."""

from __future__ import annotations

import hashlib

import numpy as np


def key(seed: int, *parts: str | int) -> int:
    """A 63-bit number from a seed and what the draw is for, e.g. `key(0, "train_classifier", round, epoch, image_id)`."""
    text = "\x1f".join(str(p) for p in (seed, *parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *parts: str | int) -> np.random.Generator:
    """A NumPy generator keyed like `key`."""
    return np.random.default_rng(key(seed, *parts))
