"""The true instances of an image, for evaluation and for the images of the report (no torch)."""

from __future__ import annotations

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_mask
from wsss.files.index import ImageRow
from wsss.files.mask_values import IGNORE


def true_instances(image: ImageRow) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The instances of an image with truth.

    An instance's class is the one that the class mask shows on most of it. An instance with background alone is left
    out.

    Returns:
        Masks (G, H, W) bool, class ids (G,) int, and void pixels (H, W) bool.

    Raises:
        ArtefactError: If a mask is missing or unreadable, or the sizes of image and masks differ.
    """
    assert image.mask is not None
    assert image.instances is not None
    classes, numbers = read_mask(image.mask), read_mask(image.instances)
    size = (image.height, image.width)
    if not classes.shape == numbers.shape == size:
        sizes = f"(height, width) {numbers.shape}, the class mask {classes.shape}, the image {size}"
        raise ArtefactError(f"{image.instances}: {sizes}; give masks of the image's size")
    void = (classes == IGNORE) | (numbers == IGNORE)
    masks, class_ids = [], []
    for k in np.unique(numbers[~void]):
        mask = (numbers == k) & ~void
        counts = np.bincount(classes[mask], minlength=256)
        counts[0] = 0
        if k and counts.any():
            masks.append(mask)
            class_ids.append(int(counts.argmax()))
    return np.array(masks, np.bool_).reshape(-1, *classes.shape), np.array(class_ids, int), void
