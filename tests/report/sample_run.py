"""A run's files as the workflow leaves them, made up from images with known masks: for the tests of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from wsss.files.index import INDEX_COLUMNS
from wsss.files.mask_values import IGNORE
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.store import MapWriter
from wsss.files.text_files import write_csv, write_json
from wsss.settings.config import load
from wsss.settings.reading import relevant
from wsss.settings.sections import Config
from wsss.workflow.graph import Graph

MEAN_RGB = [120.0, 110.0, 100.0]
OVERLAY = {
    "segment": {"variants": ["plain", "psl"]},
    "run": "sample",
    "seeds": {"rounds": {"count": 2}},
    "report": {"gallery": 6},
}
SWEEP = np.round(np.linspace(0, 1, 11), 3)


@dataclass(frozen=True, kw_only=True)
class SampleRun:
    """Paths of index and metrics.csv, the plan, the rows of metrics.csv, truth masks and class names."""

    index: Path
    metrics: Path
    content: dict[str, Any]
    rows: list[dict[str, Any]]
    truths: dict[str, np.ndarray]
    names: list[str]


def drawn_images(count: int = 6) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images (H, W, 3) of one or two shapes with their masks (H, W), not square, classes 1..2."""
    out = []
    for k in range(count):
        rng = np.random.default_rng(k)
        image = rng.integers(90, 140, (48, 64 + 2 * k, 3), dtype=np.uint8)
        mask = np.zeros(image.shape[:2], np.uint8)
        cv2.circle(mask, (20 + 3 * k, 24), 12, 1 + k % 2, -1)
        if k % 3 == 0:
            cv2.rectangle(mask, (44, 8), (60, 30), 2 - k % 2, -1)
        image[mask == 1] = (200, 60, 50)
        image[mask == 2] = (50, 90, 200)
        out.append((image, mask))
    return out


def make_run(
    folder: Path,
    *,
    names: Sequence[str] = ("disc", "box"),
    pairs: Sequence[tuple[np.ndarray, np.ndarray]] | None = None,
    val: int = 2,
    truth: bool = True,
    config: Mapping[str, Any] | None = None,
    worse: Mapping[str, int] | None = None,
    full: bool = False,
) -> SampleRun:
    """Write index, store files, records, benchmarks, logs, metrics.csv under `folder`.

    Args:
        folder: An empty folder.
        names: Foreground classes.
        images: Images and masks; the last `val` of them are for validation.
        val: Validation images.
        truth: Whether the data set has masks (and metrics.csv numbers).
        config: Keys laid over the defaults.
        worse: image_id to pixels by which its pseudo mask is shifted; 0 (perfect) for the others.
        full: Also the fully supervised reference.

    Returns:
        What write_report needs, and what the tests compare.
    """
    pairs = drawn_images() if pairs is None else pairs
    settings = load({**OVERLAY, "evaluate": {"full_supervision": full}, **(config or {})})
    splits = {f"img{k}": "val" if k >= len(pairs) - val else "train" for k in range(len(pairs))}
    truths = {i: mask for i, (_, mask) in zip(splits, pairs, strict=True)}
    images = {i: image for i, (image, _) in zip(splits, pairs, strict=True)}
    _write_index(folder / "dataset", images, truths, splits, names, truth=truth)
    plan = _plan(folder, settings)
    for stage in plan["stages"]:
        ids = [i for i, s in splits.items() if s == stage["split"]]
        _write_stage(Path(stage["files"][0]), stage, ids, images, truths, worse or {})
    _write_saliency(Path(next(iter(plan["saliency"].values()))[0]), truths, splits)
    _write_records(plan)
    rows = (
        [
            row
            for k, stage in enumerate(plan["stages"])
            if stage["stage"] != "regions"
            for row in _metric_rows(stage, k, names)
        ]
        if truth
        else []
    )
    write_csv(folder / "metrics.csv", METRIC_COLUMNS, rows)
    return SampleRun(
        index=folder / "dataset/index.csv",
        metrics=folder / "metrics.csv",
        content=plan,
        rows=rows,
        truths=truths,
        names=["background", *names],
    )


def _write_index(
    folder: Path,
    images: Mapping[str, np.ndarray],
    truths: Mapping[str, np.ndarray],
    splits: Mapping[str, str],
    names: Sequence[str],
    *,
    truth: bool,
) -> None:
    folder.mkdir(parents=True)
    rows = []
    for i, image in images.items():
        Image.fromarray(image).save(folder / f"{i}.png")
        mask = Image.fromarray(truths[i])
        mask.putpalette([v for k in range(256) for v in (k, 255 - k, 0)])
        mask.save(folder / f"{i}-mask.png")
        present = [n for k, n in enumerate(names, 1) if (truths[i] == k).any()]
        rows.append(dict.fromkeys(INDEX_COLUMNS, "") | {"image_id": i, "split": splits[i], "measured": int(truth), "height": image.shape[0], "width": image.shape[1],
                    "labels": ";".join(present), "image": f"{i}.png", "mask": f"{i}-mask.png" if truth else ""})  # fmt: skip
    write_csv(
        folder / "classes.csv",
        ("class_id", "name"),
        [{"class_id": k, "name": n} for k, n in enumerate(["background", *names])],
    )
    write_json(folder / "statistics.json", {"mean_rgb": MEAN_RGB})
    write_csv(folder / "index.csv", INDEX_COLUMNS, rows)


def _plan(folder: Path, settings: Config) -> dict[str, Any]:
    """Graph.plan with its paths moved under `folder`, and the regions."""
    graph = Graph(settings)
    rounds = {m: graph.max_rounds(m) for m in settings.methods}
    plan = graph.plan(rounds) | {"config": relevant(settings)}
    for m, count in rounds.items():
        plan["stages"] += [
            {
                "method": m,
                "stage": "regions",
                "name": "",
                "files": graph.regions(m, r),
                "round": r,
                "variant": "",
                "cycle": None,
                "split": "train",
            }
            for r in range(1, count + 1)
        ]
    moved: dict[str, Any] = json.loads(json.dumps(plan).replace(f"{graph.base}/", f"{folder.as_posix()}/"))
    assert all(Path(f).is_relative_to(folder) for stage in moved["stages"] for f in stage["files"]), (
        "nothing is written elsewhere"
    )
    return moved


# ---------------------------------------------------------------- store files


def _write_stage(
    path: Path,
    stage: Mapping[str, Any],
    ids: Sequence[str],
    images: Mapping[str, np.ndarray],
    truths: Mapping[str, np.ndarray],
    worse: Mapping[str, int],
) -> None:
    if path.exists():
        return
    with MapWriter(path, stage=stage["stage"], settings={}) as writer:
        for i in ids:
            classes = [int(c) for c in np.unique(truths[i]) if 0 < c < IGNORE]
            objects = np.stack([truths[i] == c for c in classes])
            if stage["stage"] in ("scores", "fused", "regions"):
                scores, regions = _maps(objects, round=stage["round"] or 2)
                arrays = {
                    "scores": {"scores": scores},
                    "regions": {"regions": regions},
                    "fused": {"scores": scores, "regions": regions},
                }[stage["stage"]]
            else:
                arrays = {"mask": _mask(truths[i], stage, shift=worse.get(i, 0))}
            writer.write(i, classes, **arrays)


def _maps(objects: np.ndarray, *, round: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores on a grid of 8 px, and what they claim: more of the object in later rounds."""
    scores = []
    for plane in objects:
        ys, xs = np.nonzero(plane)
        middle = np.quantile(xs, min(0.15 + 0.35 * (round - 1), 0.95)), np.median(ys)
        grid = np.mgrid[4 : plane.shape[0] : 8, 4 : plane.shape[1] : 8]
        reach = 0.35 * np.sqrt(plane.sum())
        scores.append(6 * np.exp(-((grid[1] - middle[0]) ** 2 + (grid[0] - middle[1]) ** 2) / (2 * reach**2)) - 1)
    raw = np.stack(scores).astype(np.float16)
    full = np.stack([cv2.resize(s.astype(np.float32), objects.shape[:0:-1]) for s in raw])
    return raw, full > 0.3 * full.max(axis=(1, 2), keepdims=True)


def _mask(truth: np.ndarray, stage: Mapping[str, Any], *, shift: int) -> np.ndarray:
    """The truth moved down by `shift` px; seeds with an unlabelled rim."""
    mask = np.roll(truth, shift, axis=0)
    if stage["stage"] == "seed":
        solid = (mask > 0).astype(np.uint8)
        rim = cv2.dilate(solid, np.ones((7, 7), np.uint8)) - cv2.erode(solid, np.ones((5, 5), np.uint8))
        mask[rim > 0] = IGNORE
    return mask


def _write_saliency(path: Path, truths: Mapping[str, np.ndarray], splits: Mapping[str, str]) -> None:
    with MapWriter(path, stage="estimate_saliency", settings={}) as writer:
        for i, truth in truths.items():
            if splits[i] == "train":
                writer.write(i, [], saliency=cv2.GaussianBlur(((truth > 0) * 255).astype(np.uint8), (15, 15), 5))


# ---------------------------------------------------------------- records and numbers


def _write_records(plan: Mapping[str, Any]) -> None:
    for k, record in enumerate(plan["records"]):
        losses = [
            {"epoch": e, "loss": (0.4 + 0.1 * k) / e + 0.05 * (record["round"] or 1), "seconds": 1.0}
            for e in range(1, 7)
        ]
        content: dict[str, Any] = {
            "loss_curve": losses,
            "final_loss": losses[-1]["loss"],
            "seconds": 6.0,
            "peak_memory_mb": 900.0,
            "device": "cpu",
        }
        if record["kind"] == "round":
            content |= {
                "new_area": 0.2 / record["round"],
                "erased_share": 0.1 * (record["round"] - 1),
                "claimed_share": 0.2,
            }
        write_json(Path(record["file"]), content)
    benchmarks = Path(plan["benchmarks"])
    for rule, seconds in {
        "train_classifier": (61.2, 58.9),
        "extract_scores": (9.1, 8.8),
        "refine_masks": (22.5,),
        "index_images": (1.2,),
    }.items():
        for n, s in enumerate(seconds):
            path = benchmarks / rule / f"job-{n}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                f"s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n{s}\t0:00:09\t{512.5 + n}\t-\t-\t-\t0\t0\t90\t{s}\n"
            )
    log = benchmarks.parent / "logs" / "make_seeds" / "cam-train-0.log"
    log.parent.mkdir(parents=True)
    log.write_text("10:00:00 INFO make_seeds: wsss\n10:00:01 WARNING 1 of 4 seed masks has no object pixel\n")


def _metric_rows(stage: Mapping[str, Any], k: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Numbers that differ from stage to stage; swept ones are hat-shaped with their top at 0.3."""
    base = {
        "run": "sample",
        **{c: stage[c] for c in ("method", "variant", "stage", "split")},
        **{c: "" if stage[c] is None else stage[c] for c in ("round", "cycle")},
        "seed": 0,
        "threshold": "",
        "class": "",
    }

    def row(metric: str, value: float, **more: Any) -> dict[str, Any]:
        return base | {"metric": metric, "value": round(float(value), 6)} | more

    level = (
        0.4
        + 0.031 * (k % 7)
        + 0.05 * (stage["method"] != "cam")
        + 0.1 * (stage["method"] == "full")
        + 0.08 * ({"scores": 0, "fused": 1, "seed": 0.5, "pseudo": 2, "prediction": 2.5}[stage["stage"]])
    )
    classes = ["background", *names]
    if stage["stage"] in ("scores", "fused"):
        out = [row("miou_curve", level * (1 - (t - 0.3) ** 2 * (1 + (t > 0.3))), threshold=t) for t in SWEEP]
        out += [row("precision", 0.3 + 0.6 * t**0.5, threshold=t) for t in SWEEP] + [
            row("recall", 0.95 - 0.8 * t ** (1.5 - 0.05 * k), threshold=t) for t in SWEEP
        ]
        out += [row("miou", level - 0.1, threshold=0.4), row("miou_best", level, threshold=0.3)]
        return out + [row("iou", level * 0.96**j, threshold=0.3, **{"class": c}) for j, c in enumerate(classes)]
    flat = {
        "miou": level,
        "miou_labelled": level + 0.05,
        "coverage": 0.8 if stage["stage"] == "seed" else 1.0,
        "precision": level + 0.1,
        "recall": level + 0.02,
        "precision_labelled": level + 0.11,
        "pixel_accuracy": level + 0.2,
    }
    return [row(m, min(v, 1.0)) for m, v in flat.items()] + [
        row("iou", (level + 0.1) * 0.95**j, **{"class": c}) for j, c in enumerate(classes)
    ]
