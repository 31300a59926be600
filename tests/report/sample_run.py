"""A run's files as the workflow leaves them, made up from images with known masks: for the tests of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from wsss.files.index import INDEX_COLUMNS, ImageIndex
from wsss.files.mask_values import IGNORE
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.store import MapWriter
from wsss.files.text_files import write_csv, write_json
from wsss.settings.config import load
from wsss.settings.sections import Config
from wsss.stages.report.metrics import Metrics, read_metrics
from wsss.stages.report.write_report import context, page_of
from wsss.workflow.graph import Graph
from wsss.workflow.rows import ArtefactKey, MeasuredArtefact, RunPlan

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
    plan: RunPlan
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
        pairs: Images and masks; the last `val` of them are for validation.
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
    for artefact in plan.artefacts:
        ids = [i for i, s in splits.items() if s == artefact.split]
        _write_artefact(artefact, ids, images, truths, worse or {})
    _write_saliency(Path(next(iter(plan.saliency.values()))[0]), truths, splits)
    _write_records(plan)
    _write_jobs(Path(plan.benchmarks))
    measured = [(k, a) for k, a in enumerate(plan.artefacts) if a.stage != "regions" and truth]
    rows = [row for k, artefact in measured for row in _metric_rows(artefact, k, names)]
    write_csv(folder / "metrics.csv", METRIC_COLUMNS, rows)
    return SampleRun(
        index=folder / "dataset/index.csv",
        metrics=folder / "metrics.csv",
        plan=plan,
        rows=rows,
        truths=truths,
        names=["background", *names],
    )


def page_of_run(run: SampleRun, *, plan: RunPlan | None = None, images: int = 6) -> str:
    """The page of a sample, or of another plan of it."""
    metrics = read_metrics(run.metrics)
    return page_of(context(plan or run.plan, index=ImageIndex(run.index), metrics=metrics, images=images))


def metrics_of(*rows: tuple[ArtefactKey, str, str, float | None, float]) -> Metrics:
    """Numbers from (artefact, metric, class, threshold, value)."""
    lines = [
        {**key._asdict(), "metric": metric, "class": name, "threshold": threshold, "value": value}
        for key, metric, name, threshold, value in rows
    ]
    table = pd.DataFrame([{k: "" if v is None else str(v) for k, v in line.items()} for line in lines])
    return Metrics(table.reindex(columns=list(METRIC_COLUMNS), fill_value=""))


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
        row = {"image_id": i, "split": splits[i], "measured": int(truth), "labels": ";".join(present)}
        row |= {"height": image.shape[0], "width": image.shape[1]}
        row |= {"image": f"{i}.png", "mask": f"{i}-mask.png" if truth else ""}
        rows.append(dict.fromkeys(INDEX_COLUMNS, "") | row)
    classes = [{"class_id": k, "name": n} for k, n in enumerate(["background", *names])]
    write_csv(folder / "classes.csv", ("class_id", "name"), classes)
    write_json(folder / "statistics.json", {"mean_rgb": MEAN_RGB})
    write_csv(folder / "index.csv", INDEX_COLUMNS, rows)


def _plan(folder: Path, settings: Config) -> RunPlan:
    """The plan of the settings, its paths under `folder`."""
    graph = Graph(settings)
    graph.base = folder.as_posix()
    plan = graph.plan({m: graph.max_rounds(m) for m in settings.methods})
    assert all(Path(f).is_relative_to(folder) for a in plan.artefacts for f in a.files), "nothing is written elsewhere"
    return plan


# ---------------------------------------------------------------- store files


def _write_artefact(
    artefact: MeasuredArtefact,
    ids: Sequence[str],
    images: Mapping[str, np.ndarray],
    truths: Mapping[str, np.ndarray],
    worse: Mapping[str, int],
) -> None:
    path = Path(artefact.files[0])
    if path.exists():
        return
    with MapWriter(path, stage=artefact.stage, settings={}) as writer:
        for i in ids:
            classes = [int(c) for c in np.unique(truths[i]) if 0 < c < IGNORE]
            scores, regions = _maps(np.stack([truths[i] == c for c in classes]), round=artefact.round or 2)
            arrays = {
                "scores": {"scores": scores},
                "regions": {"regions": regions},
                "fused": {"scores": scores, "regions": regions},
            }
            mask = {"mask": _mask(truths[i], artefact, shift=worse.get(i, 0))}
            writer.write(i, classes, **arrays.get(artefact.stage, mask))


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


def _mask(truth: np.ndarray, artefact: MeasuredArtefact, *, shift: int) -> np.ndarray:
    """The truth moved down by `shift` px; seeds with an unlabelled rim."""
    mask = np.roll(truth, shift, axis=0)
    if artefact.stage == "seed":
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


def _write_records(plan: RunPlan) -> None:
    for k, record in enumerate(plan.records):
        round = record.round or 1
        losses = [{"epoch": e, "loss": (0.4 + 0.1 * k) / e + 0.05 * round, "seconds": 1.0} for e in range(1, 7)]
        content: dict[str, Any] = {
            "loss_curve": losses,
            "final_loss": losses[-1]["loss"],
            "seconds": 6.0,
            "peak_memory_mb": 900.0,
            "device": "cpu",
        }
        if record.kind == "round":
            content |= {"new_area": 0.2 / round, "erased_share": 0.1 * (round - 1), "claimed_share": 0.2}
        write_json(Path(record.file), content)


BENCHMARK = (
    "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    "{seconds}\t0:00:09\t{memory}\t-\t-\t-\t0\t0\t90\t{seconds}\n"
)
SECONDS = {
    "train_classifier": (61.2, 58.9),
    "extract_scores": (9.1, 8.8),
    "refine_masks": (22.5,),
    "index_images": (1.2,),
}


def _write_jobs(benchmarks: Path) -> None:
    """Times of some jobs, and a log with a warning."""
    for rule, times in SECONDS.items():
        for n, seconds in enumerate(times):
            path = benchmarks / rule / f"job-{n}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(BENCHMARK.format(seconds=seconds, memory=512.5 + n))
    log = benchmarks.parent / "logs" / "make_seeds" / "cam-train-0.log"
    log.parent.mkdir(parents=True)
    log.write_text("10:00:00 INFO make_seeds: wsss\n10:00:01 WARNING 1 of 4 seed masks has no object pixel\n")


LEVELS = {"scores": 0.0, "fused": 1.0, "seed": 0.5, "pseudo": 2.0, "prediction": 2.5}


def _metric_rows(artefact: MeasuredArtefact, k: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Numbers that differ from artefact to artefact; swept ones are hat-shaped with their top at 0.3."""
    base = dict.fromkeys(METRIC_COLUMNS, "") | {
        name: "" if value is None else value for name, value in artefact.row_keys(run="sample", seed=0).items()
    }

    def row(metric: str, value: float, **more: Any) -> dict[str, Any]:
        return base | {"metric": metric, "value": round(float(value), 6)} | more

    level = 0.4 + 0.031 * (k % 7) + 0.05 * (artefact.method != "cam") + 0.1 * (artefact.method == "full")
    level += 0.08 * LEVELS[artefact.stage]
    classes = ["background", *names]
    if artefact.has_maps:
        out = [row("miou_curve", level * (1 - (t - 0.3) ** 2 * (1 + (t > 0.3))), threshold=t) for t in SWEEP]
        out += [row("precision", 0.3 + 0.6 * t**0.5, threshold=t) for t in SWEEP]
        out += [row("recall", 0.95 - 0.8 * t ** (1.5 - 0.05 * k), threshold=t) for t in SWEEP]
        out += [row("miou", level - 0.1, threshold=0.4), row("miou_best", level, threshold=0.3)]
        return out + [row("iou", level * 0.96**j, threshold=0.3, **{"class": c}) for j, c in enumerate(classes)]
    flat = {
        "miou": level,
        "miou_labelled": level + 0.05,
        "coverage": 0.8 if artefact.stage == "seed" else 1.0,
        "precision": level + 0.1,
        "recall": level + 0.02,
        "precision_labelled": level + 0.11,
        "pixel_accuracy": level + 0.2,
    }
    ious = [row("iou", (level + 0.1) * 0.95**j, **{"class": c}) for j, c in enumerate(classes)]
    return [row(m, min(v, 1.0)) for m, v in flat.items()] + ious
