"""`wsss evaluate`: two folders of PNG masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from wsss.artefacts import IGNORE, ArtefactError, atomic, read_classes
from wsss.console import progress
from wsss.evaluate.confusion import confusion, figures
from wsss.imaging import read_mask

LISTED = 20


def compare_folders(*, predictions: Path, truth: Path, classes: Path | None = None, output: Path | None = None) -> str:
    """IoU, precision and recall per class, and their means.

    Args:
        predictions: Folder of masks NAME.png; 255 counts as wrong.
        truth: Folder of truth masks; its 255 is left out. Every truth mask needs a prediction.
        classes: classes.csv, or a text file of names, background first; without it classes are numbered.
        output: CSV to write the table to.

    Returns:
        The table as text.

    Raises:
        ArtefactError: If folders or masks are missing, or sizes differ (each listed, up to 20).
    """
    names = sorted(p.name for p in truth.glob("*.png"))
    if not names:
        raise ArtefactError(f"{truth}: no PNG masks")
    if missing := [n for n in names if not (predictions / n).is_file()]:
        more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        raise ArtefactError(f"{predictions}: {len(missing)} of {len(names)} masks are missing: {', '.join(missing[:LISTED])}{more}")
    labels = _names(classes)
    pairs = np.zeros((255, 256), np.int64)
    for name in progress(names, what="masks"):
        a, b = read_mask(truth / name), read_mask(predictions / name)
        if a.shape != b.shape:
            raise ArtefactError(f"{predictions / name}: (height, width) {b.shape}, but the truth mask has {a.shape}")
        pairs += confusion(a, b, num_classes=254)
    count = len(labels) if labels else int(max(np.flatnonzero(pairs.sum(1)).max(initial=0), np.flatnonzero(pairs[:, :IGNORE].sum(0)).max(initial=0))) + 1
    if pairs[count:].sum() or pairs[:, count:IGNORE].sum():
        raise ArtefactError(f"the masks hold class ids above {count - 1}, but {classes} names {count} classes")
    f = figures(np.concatenate([pairs[:count, :count], pairs[:count, IGNORE:].sum(1, keepdims=True)], axis=1))
    table = pd.DataFrame({"class": labels or [str(c) for c in range(count)], **{m: np.asarray(f[m]) for m in ("iou", "precision", "recall")}})
    table.loc[len(table)] = ["mean", f["miou"], f["mean_precision"], f["mean_recall"]]
    if output:
        with atomic(output) as temporary:
            table.to_csv(temporary, index=False)
    return f"{len(names)} masks, pixel accuracy {f['pixel_accuracy']:.4f}\n{table.to_string(index=False, float_format='%.4f', na_rep='-')}"


def _names(path: Path | None) -> list[str]:
    if path is None:
        return []
    return read_classes(path) if path.suffix == ".csv" else [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
