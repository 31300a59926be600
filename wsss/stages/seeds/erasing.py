"""Adversarial erasing: AE-PSL (Wei et al., CVPR 2017, arXiv 1703.08448), Algorithm 1.

Each round trains a fresh classifier on images without what earlier rounds claimed, so that it finds other parts of the
objects. Network, loss and maps are CAM's. What makes it erasing is in the registry (`erases`, `fuse="union"`): the
loader fills the earlier rounds' regions of all classes with the training set's mean colour and keeps the labels; the
rounds' regions are united.
"""

from __future__ import annotations

from wsss.stages.seeds import cam


class Method(cam.Method):
    """CAM, round after round.

    Example:
        What round 2 sees of an image (2 x 2 px) whose left half round 1 claimed:

        >>> import numpy as np
        >>> from wsss.files.imaging import erase
        >>> from wsss.stages.seeds.regions import claim
        >>> scores = np.array([[[4.0, 1.0], [3.5, 0.0]]])  # (K, h, w), one class
        >>> region = claim(scores, size=(2, 2), rel_threshold=0.5, normalise="signed_max").any(0)
        >>> region.tolist()
        [[True, False], [True, False]]
        >>> image_u8 = np.full((2, 2, 3), 200, np.uint8)
        >>> erase(image_u8, region, colour=np.array([120.0, 115.0, 100.0]))[0].tolist()
        [[120, 115, 100], [200, 200, 200]]
    """
