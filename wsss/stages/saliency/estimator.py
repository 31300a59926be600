"""What every kind of saliency offers: `Estimator`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from wsss.files.imaging import read_indexed_image
from wsss.files.index import ImageRow
from wsss.settings.kinds import load_class
from wsss.settings.sections import SaliencySection


class Estimator:
    """A kind of saliency. To add one: a subclass in a module of its own, and an entry in `wsss/settings/kinds.py`.

    A kind that makes maps from images defines `of_image` alone. A kind that reads maps defines `estimate`.

    An instance is pickled to the processes that make maps, after `prepare`; each process has its own copy.
    """

    seconds: ClassVar[float | None] = None
    """Seconds that one image takes on one process, for `wsss plan`. None: `wsss plan` measures `of_image`."""

    def __init__(self, settings: Any) -> None:
        """Keep the kind's own settings: its section, or its mapping under `saliency.custom`."""
        self.settings = settings

    def prepare(self, rows: Sequence[ImageRow]) -> None:
        """Find what the maps of `rows` need, before the first is made.

        Raises:
            ArtefactError: If something is missing.
        """

    def estimate(self, row: ImageRow) -> np.ndarray:
        """Saliency of one image of the data set.

        Returns:
            (H, W) uint8 at image size, 255 = salient. Saliency in [0, 1] is rounded to 8 bits, which compress well.

        Raises:
            ArtefactError: If the image, or its given map, cannot be read or does not fit.
        """
        return np.rint(self.of_image(read_indexed_image(row)) * 255).astype(np.uint8)

    def of_image(self, image_u8: np.ndarray) -> np.ndarray:
        """Saliency of an image.

        Args:
            image_u8: (H, W, 3) RGB uint8.

        Returns:
            (H, W) float32 in [0, 1].
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither of_image nor estimate")


def estimator_of(section: SaliencySection) -> Estimator:
    """The kind of saliency that the settings choose. Imports its module."""
    estimator: Estimator = load_class(section.place)(section.own)
    return estimator
