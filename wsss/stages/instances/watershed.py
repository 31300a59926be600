"""Mask proposals without any training: regions of a hierarchical watershed. Pure.

Source: J. Cousty and L. Najman, "Incremental algorithm for hierarchical minimum spanning forests and saliency of
watershed cuts", ISMM 2011; computed by higra.

Shape legend: H×W pixels, S proposals, V nodes of the tree (pixels first).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import higra as hg
import numpy as np

from wsss.files.imaging import read_indexed_image
from wsss.files.index import ImageRow
from wsss.stages.instances.proposer import Proposer

Hierarchy = Callable[[Any, np.ndarray], tuple[Any, np.ndarray]]
"""(graph, weights of its edges) to (tree, altitudes of its nodes), as higra's functions."""


class Watershed(Proposer):
    """Proposals from the image alone: `instances.proposals.watershed`."""

    def propose(self, row: ImageRow) -> np.ndarray:
        """Return the regions of an image's hierarchies, (S, H, W) bool, those with the highest rank values first."""
        s, image_u8 = self.settings, read_indexed_image(row)
        return watershed_proposals(
            image_u8, smoothings=s.smoothings, count=s.count, min_area=s.min_area, max_area=s.max_area
        )[0]


def watershed_proposals(
    image_u8: np.ndarray,
    *,
    smoothings: Sequence[float],
    count: int,
    min_area: float,
    max_area: float,
    hierarchy: Hierarchy = hg.watershed_hierarchy_by_area,
) -> tuple[np.ndarray, np.ndarray]:
    """Propose regions of watershed hierarchies over the colour differences between neighbouring pixels.

    A region that stays whole over a long range of the hierarchy stands out from what is around it. That range, over
    the height of the hierarchy, is its rank value.

    Args:
        image_u8: (H, W, 3) RGB uint8.
        smoothings: Standard deviations (px) of the Gaussians that smooth the image, one hierarchy each; 0: none.
        count: Largest number of proposals, an equal share of each hierarchy.
        min_area: Smallest share of the image.
        max_area: Largest share of the image.
        hierarchy: Another of higra's hierarchies; benchmarks/bench_proposals.py compares them.

    Returns:
        Masks (S, H, W) bool, all different, and their rank values (S,) float64 in [0, 1], descending.
    """
    lab = cv2.cvtColor(image_u8.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)  # (H, W, 3)
    share = -(-count // len(smoothings))
    smoothed = [cv2.GaussianBlur(lab, (0, 0), s) if s else lab for s in smoothings]
    parts = [_regions(plane, hierarchy, count=share, min_area=min_area, max_area=max_area) for plane in smoothed]
    masks, values = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    first: dict[bytes, int] = {}  # of equal masks the one with the highest value
    for k in np.argsort(-values, kind="stable"):
        first.setdefault(masks[k].tobytes(), int(k))
    kept = np.array(list(first.values())[:count], np.int64)
    return masks[kept], values[kept]


def _regions(
    lab: np.ndarray, hierarchy: Hierarchy, *, count: int, min_area: float, max_area: float
) -> tuple[np.ndarray, np.ndarray]:
    """Masks (S, H, W) and rank values (S,) of one hierarchy, longest range first."""
    height, width = lab.shape[:2]
    if min(height, width) < 2:  # higra needs edges in both directions
        return np.zeros((0, height, width), np.bool_), np.zeros(0)
    graph = hg.get_4_adjacency_graph((height, width))
    weights = hg.weight_graph(graph, lab.reshape(-1, 3).astype(np.float64), hg.WeightFunction.L2)
    tree, altitudes = hierarchy(graph, weights)
    area = hg.attribute_area(tree) / (height * width)  # (V,)
    allowed = (area >= min_area) & (area <= max_area)
    allowed[: tree.num_leaves()] = False  # single pixels
    nodes = np.flatnonzero(allowed)
    lasting = (altitudes[tree.parents()] - altitudes)[nodes] / max(float(altitudes.max()), 1e-12)
    best = np.argsort(-lasting, kind="stable")[:count]
    masks = np.zeros((len(best), height, width), np.bool_)
    for k, node in enumerate(nodes[best]):
        # Every vertex takes its parent's value, except the region's node (1) and the root (0).
        inside, inherits = np.zeros(tree.num_vertices(), np.uint8), np.ones(tree.num_vertices(), np.bool_)
        inside[node], inherits[[node, tree.root()]] = 1, False
        masks[k] = hg.propagate_sequential(tree, inside, inherits)[: tree.num_leaves()].reshape(height, width)
    return masks, lasting[best]
