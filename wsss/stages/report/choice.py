"""Which images the page shows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def choose(scores: Mapping[str, float], count: int) -> list[tuple[str, str]]:
    """Choose the best, typical and worst images, about a third each.

    Args:
        scores: image_id to its mIoU.
        count: Number of images; fewer if there are fewer.

    Returns:
        (image_id, "best" | "typical" | "worst"), no image twice. Best first, then those nearest the median,
        then the worst with the very worst first.
    """
    ranked = sorted(scores, key=lambda i: (-scores[i], i))
    count = min(count, len(ranked))
    tail = count // 3
    head = (count - tail + 1) // 2
    middle = count - head - tail
    best, worst = ranked[:head], ranked[len(ranked) - tail :][::-1]
    rest = ranked[head : len(ranked) - tail]
    median = float(np.median(list(scores.values()))) if scores else 0.0
    nearest = sorted(rest, key=lambda i: (abs(scores[i] - median), i))[:middle]
    typical = sorted(nearest, key=lambda i: (-scores[i], i))
    return [*((i, "best") for i in best), *((i, "typical") for i in typical), *((i, "worst") for i in worst)]


def choose_varied(rows: Sequence[tuple[str, Sequence[int]]], count: int) -> list[str]:
    """Choose images of varied classes.

    Args:
        rows: (image_id, class ids), the best image first.
        count: Number of images; fewer if there are fewer.

    Returns:
        image_ids. Each is the first image with a class that is not shown yet, or else the first.
        When all classes are shown, none counts as shown.
    """
    picked: list[str] = []
    shown: set[int] = set()
    left = list(rows)
    while left and len(picked) < count:
        row = next((r for r in left if set(r[1]) - shown), left[0])
        picked.append(row[0])
        shown |= set(row[1])
        left.remove(row)
        if all(set(classes) <= shown for _, classes in left):
            shown = set()
    return picked
