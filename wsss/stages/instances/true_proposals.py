"""The true instances as mask proposals: what perfect proposals would give."""

from __future__ import annotations

import numpy as np

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_mask
from wsss.files.index import ImageRow
from wsss.files.mask_values import IGNORE
from wsss.stages.instances.proposer import Proposer


class TrueInstances(Proposer):
    """One proposal for each true instance."""

    def propose(self, row: ImageRow) -> np.ndarray:
        """Return the true instances of an image, (S, H, W) bool.

        Raises:
            ArtefactError: If the image has none, or their file is damaged.
        """
        if row.instances is None:
            raise ArtefactError(
                f"image {row.image_id} has no true instances; "
                "instances.proposals.kind truth needs a data set that has them"
            )
        numbers = read_mask(row.instances)  # (H, W): 0 background, 255 ignored
        masks = [numbers == k for k in np.unique(numbers) if 0 < k < IGNORE]
        return np.array(masks, np.bool_).reshape(-1, *numbers.shape)
