"""The page's charts, from the numbers of a run. Pure: nothing is read or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from wsss.stages.report.charts import Axis, Series, bars, legend, line_chart
from wsss.stages.report.gather import FULL, Key, Metrics

STEPS = (("scores", "scores\nbest thr."), ("fused", "fused\nbest thr."), ("seed", "seed"))


def swept(plan: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(name, stage) of every score map that is swept, each once: shared rounds name all their methods, a single round's fusion is left out."""
    owners: dict[tuple[str, ...], list[str]] = {}
    for s in plan["stages"]:
        if s["stage"] == "scores":
            owners.setdefault(tuple(s["files"]), []).append(s["method"])
    out, seen = [], set()
    for s in plan["stages"]:
        files = tuple(s["files"])
        if s["stage"] == "scores" and files not in seen:
            seen.add(files)
            out.append((f"{' = '.join(dict.fromkeys(owners[files]))}, round {s['round']}", s))
        elif (
            s["stage"] == "fused"
            and sum(o["stage"] == "scores" and o["method"] == s["method"] for o in plan["stages"]) > 1
        ):
            out.append((f"{s['method']}, fused", s))
    return out


def threshold_chart(plan: Mapping[str, Any], metrics: Metrics) -> Markup:
    """MIoU against the constant background threshold; the best of each line marked."""
    series = []
    for k, (name, stage) in enumerate(swept(plan)):
        points = [(t, 100 * v) for t, v in metrics.curve(Key.of(stage), "miou_curve")]
        top = max(points, key=lambda p: p[1], default=None)
        series.append(Series(name=name, points=points, colour=k, dashed=stage["stage"] == "fused", mark=top))
    return line_chart(
        series,
        x=Axis(label="background threshold"),
        y=Axis(label="mIoU, %", low=0),
        title="mIoU against the background threshold",
    )


def precision_recall_chart(plan: Mapping[str, Any], metrics: Metrics) -> Markup:
    """Precision against recall over all thresholds; the point of the best mIoU marked."""
    series = []
    for k, (name, stage) in enumerate(swept(plan)):
        key = Key.of(stage)
        precision, recall = dict(metrics.curve(key, "precision")), dict(metrics.curve(key, "recall"))
        both = sorted((100 * recall[t], 100 * precision[t]) for t in precision.keys() & recall.keys())
        best = metrics.get(key, "miou_best")
        at = (
            None
            if best is None or best.threshold not in precision or best.threshold not in recall
            else (100 * recall[best.threshold], 100 * precision[best.threshold])
        )
        series.append(Series(name=name, points=both, colour=k, dashed=stage["stage"] == "fused", mark=at))
    return line_chart(series, x=Axis(label="recall, %"), y=Axis(label="precision, %"), title="Precision against recall")


def loss_chart(records: Sequence[Mapping[str, Any]], *, kind: str) -> Markup:
    """Loss per epoch of every training of a kind (classifier, segmenter), shared trainings once."""
    series: list[Series] = []
    seen: set[str] = set()
    for record in records:
        if record["kind"] != kind or record["file"] in seen:
            continue
        seen.add(record["file"])
        owners = " = ".join(
            dict.fromkeys(r["method"] for r in records if r["file"] == record["file"] and r["kind"] == kind)
        )
        name = (
            f"{owners}, round {record['round']}"
            if kind == "classifier"
            else f"{owners} · {record['variant']}, cycle {record['cycle']}"
        )
        points = [(float(e["epoch"]), float(e["loss"])) for e in record["content"].get("loss_curve", [])]
        series.append(Series(name=name, points=points, colour=len(series), dots=len(points) < 3))
    return line_chart(series, x=Axis(label="epoch"), y=Axis(label="loss", low=0), title=f"Loss per epoch, {kind}")


def stage_chart(plan: Mapping[str, Any], metrics: Metrics) -> Markup:
    """MIoU from stage to stage on the training images, a line a method and variant; dashed: validation images."""
    cycles = sorted({s["cycle"] for s in plan["stages"] if s["cycle"] is not None})
    exported = {s["cycle"] for s in plan["stages"] if s.get("exported")} - {
        s["cycle"] for s in plan["stages"] if s["stage"] == "prediction"
    }
    steps: list[tuple[str, int | None, str]] = [(s, None, n) for s, n in STEPS]
    for c in cycles:
        steps += [
            ("pseudo", c, "exported\nmasks" if c in exported else f"pseudo\ncycle {c}"),
            ("prediction", c, f"prediction\ncycle {c}"),
        ]
    steps = [
        st
        for st in steps
        if any(s["stage"] == st[0] and (st[1] is None or s["cycle"] == st[1]) for s in plan["stages"])
    ]
    series: list[Series] = []
    for method in plan["methods"]:
        own = [s for s in plan["stages"] if s["method"] == method]
        variants = list(dict.fromkeys(s["variant"] for s in own if s["stage"] == "prediction")) or [""]
        for variant in variants:
            name = f"{method} · {variant}" if variant else method
            for split in ("train", "val"):
                points = _stage_points(own, metrics, steps, variant, split)
                colour = len({s.colour for s in series} - ({series[-1].colour} if split == "val" and series else set()))
                if points:
                    series.append(
                        Series(
                            name=name + (", val" if split == "val" else ""),
                            points=points,
                            colour=colour,
                            dashed=split == "val",
                            dots=True,
                        )
                    )
    return line_chart(
        series,
        x=Axis(label="", low=0, high=len(steps) - 1, names=[n for _, _, n in steps]),
        y=Axis(label="mIoU, %"),
        width=960,
        height=330,
        title="mIoU from stage to stage",
    )


def _stage_points(
    own: Sequence[Mapping[str, Any]],
    metrics: Metrics,
    steps: Sequence[tuple[str, int | None, str]],
    variant: str,
    split: str,
) -> list[tuple[float, float]]:
    points = []
    for x, (stage, cycle, _) in enumerate(steps):
        rows = [
            s for s in own if s["stage"] == stage and s["split"] == split and (cycle is None or s["cycle"] == cycle)
        ]
        shared = stage != "prediction" and not cycle
        rows = [s for s in rows if shared or s["variant"] == variant]
        value = metrics.main(Key.of(rows[0])) if rows else None  # of several rounds the first: plain CAM
        if value is not None:
            points.append((float(x), 100 * value))
    return points


def class_bars(plan: Mapping[str, Any], metrics: Metrics, *, class_names: Sequence[str], method: str) -> Markup:
    """IoU of each class from stage to stage for one method: the last of each kind of artefact."""
    picked = []
    for stage, split, name in (
        ("scores", "train", "scores, round 1"),
        ("fused", "train", "fused"),
        ("seed", "train", "seed"),
        ("pseudo", "train", "pseudo mask"),
        ("prediction", "val", "prediction, val"),
    ):
        rows = [
            s
            for s in plan["stages"]
            if s["stage"] == stage and s["split"] == split and s["method"] == method and s["method"] != FULL
        ]
        if rows and (values := metrics.by_class(Key.of(rows[0] if stage == "scores" else rows[-1]), "iou")):
            picked.append((name, values))
    if not picked:
        return Markup("")
    groups = [
        (c, [(name, k, values.get(c)) for k, (name, values) in enumerate(picked)])
        for c in class_names
        if any(c in values for _, values in picked)
    ]
    return legend([(name, k, False) for k, (name, _) in enumerate(picked)]) + Markup(
        '<div class="barflow">{}</div>'
    ).format(bars(groups))
