"""Mask proposals without any training: regions of a hierarchical watershed (Cousty and Najman, ISMM 2011; computed by higra). Pure.

Shape legend: H×W pixels, S proposals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import higra as hg
import numpy as np

Hierarchy = Callable[[Any, np.ndarray], tuple[Any, np.ndarray]]
"""(graph, weights of its edges) to (tree, altitudes of its nodes), as higra's functions."""


def watershed_proposals(
    image_u8: np.ndarray,
    *,
    smoothings: Sequence[float],
    count: int,
    min_area: float,
    max_area: float,
    hierarchy: Hierarchy = hg.watershed_hierarchy_by_area,
) -> tuple[np.ndarray, np.ndarray]:
    """Regions of the watershed hierarchies by area of the colour differences between neighbouring pixels.

    A region that stays whole over a long range of the hierarchy stands out from what is around it; that range ranks it.

    Args:
        image_u8: (H, W, 3) RGB uint8.
        smoothings: Standard deviations (px) of the Gaussians that the image is smoothed by, one hierarchy each; 0: as it is.
        count: Most proposals, an equal share of each hierarchy.
        min_area: Smallest share of the image.
        max_area: Largest share.
        hierarchy: Another of higra's; benchmarks/bench_proposals.py compares them.

    Returns:
        Masks (S, H, W) bool, no two equal, and their ranks' values (S,) float64 in [0, 1], descending: the range over the height of the hierarchy.
    """
    lab = cv2.cvtColor(image_u8.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    share = -(-count // len(smoothings))
    parts = [
        _regions(
            cv2.GaussianBlur(lab, (0, 0), s) if s else lab, hierarchy, count=share, min_area=min_area, max_area=max_area
        )
        for s in smoothings
    ]
    masks, values = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    first: dict[bytes, int] = {}
    for k in np.argsort(-values, kind="stable"):
        first.setdefault(masks[k].tobytes(), int(k))
    kept = np.array(list(first.values())[:count], np.int64)
    return masks[kept], values[kept]


def _regions(
    lab: np.ndarray, hierarchy: Hierarchy, *, count: int, min_area: float, max_area: float
) -> tuple[np.ndarray, np.ndarray]:
    height, width = lab.shape[:2]
    if min(height, width) < 2:  # a graph without both directions
        return np.zeros((0, height, width), np.bool_), np.zeros(0)
    graph = hg.get_4_adjacency_graph((height, width))
    weights = hg.weight_graph(graph, lab.reshape(-1, 3).astype(np.float64), hg.WeightFunction.L2)
    tree, altitudes = hierarchy(graph, weights)
    area = hg.attribute_area(tree) / (height * width)
    allowed = (area >= min_area) & (area <= max_area)
    allowed[: tree.num_leaves()] = False  # single pixels
    nodes = np.flatnonzero(allowed)
    lasting = (altitudes[tree.parents()] - altitudes)[nodes] / max(float(altitudes.max()), 1e-12)
    best = np.argsort(-lasting, kind="stable")[:count]
    masks = np.zeros((len(best), height, width), np.bool_)
    for k, node in enumerate(nodes[best]):
        inside, inherits = np.zeros(tree.num_vertices(), np.uint8), np.ones(tree.num_vertices(), np.bool_)
        inside[node], inherits[[node, tree.root()]] = 1, False
        masks[k] = hg.propagate_sequential(tree, inside, inherits)[: tree.num_leaves()].reshape(height, width)
    return masks, lasting[best]
