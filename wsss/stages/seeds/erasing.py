"""Adversarial erasing (AE-PSL, Wei et al., CVPR 2017, Algorithm 1): a fresh classifier each round, on images without what earlier rounds claimed.

The network, its loss and its maps are CAM's. What makes it erasing is in the registry (`erases`, `fuse="union"`): the loader hides the union of all classes' regions of all earlier
rounds with the training set's mean colour, keeps the labels, and the rounds' regions are united.
"""

from __future__ import annotations

from wsss.stages.seeds import cam


class Method(cam.Method):
    """CAM, round after round."""
