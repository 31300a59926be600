"""The drawn classes, in the order of their ids (no torch).

Frame of a drawing: x to the right, y down, the ground at y = 0. The object is about 1 wide and faces right (+x).
A drawing is a list of layers, painted in order. Each class has one small part of its own (a face, a nose), in colours
of its own. Its large body has a coat, colours and texture that all classes and the clutter share. The silhouette, the
tail, legs and wheels are the weaker evidence that a body carries.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wsss.stages.dataset.drawing.animals import bird, cat, dog, turtle
from wsss.stages.dataset.drawing.shapes import Layer
from wsss.stages.dataset.drawing.textures import Coat
from wsss.stages.dataset.drawing.vehicles import car, train

CLASSES: dict[str, Callable[[np.random.Generator, Coat], list[Layer]]] = {
    "cat": cat,
    "dog": dog,
    "bird": bird,
    "turtle": turtle,
    "car": car,
    "train": train,
}
"""Foreground classes in the order of their ids, and who draws them."""


def class_names() -> list[str]:
    """Foreground classes in the order of their ids, 1..C."""
    return list(CLASSES)
