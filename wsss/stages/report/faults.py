"""What deserves a look: results that failed silently, and steps that made things worse. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsss.stages.report.gather import Key, Metrics
from wsss.stages.report.tables import name_of, percent


def warnings(
    plan: Mapping[str, Any], metrics: Metrics, *, class_names: Sequence[str], has_truth: bool
) -> list[tuple[str, str]]:
    """(level, text): "bad" for results that failed silently, "note" for what deserves a look."""
    out: list[tuple[str, str]] = []
    for stage in plan["stages"]:
        if stage["stage"] == "regions":
            continue
        key, name = Key.of(stage), name_of(stage)
        measured = metrics.main(key) is not None or metrics.by_class(key, "iou")
        if has_truth and not measured and metrics.number(key, "coverage") is None:
            out.append(("note", f"{name}: no numbers in metrics.csv"))
        out += _counted_faults(metrics, key, name) or _class_faults(metrics.by_class(key, "iou"), name, class_names)
        out += _threshold_faults(metrics, key, name)
        covered = metrics.number(key, "coverage")
        if covered is not None and covered < 0.3:
            out.append(
                ("bad" if covered < 0.05 else "note", f"{name}: only {percent(covered)} % of the pixels have a label")
            )
    return out + _steps_down(plan, metrics)


COUNTED = {
    "warning_all_background": "every mask is background or unlabelled",
    "warning_single_class": "the masks hold a single class",
}
VANISHED = "warning_empty_class"


def _counted_faults(metrics: Metrics, key: Key, name: str) -> list[tuple[str, str]]:
    """What evaluation counted on the maps and masks themselves, truth or none: the rows whose metric starts with `warning`."""
    found: dict[str, list[str]] = {}
    for value in metrics.values.get(key, []):
        if value.metric.startswith("warning") and value.value:
            found.setdefault(value.metric, []).extend(filter(None, [value.name]))
    bad = [("bad", f"{name}: {COUNTED[metric]}") for metric in found if metric in COUNTED]
    bad += [
        ("bad", f"{name}: no pixel of {', '.join(names)}, which the labels name")
        for metric, names in found.items()
        if metric == VANISHED
    ]
    return bad + [
        ("note", f"{name}: {metric} {', '.join(names)}".rstrip())
        for metric, names in found.items()
        if metric not in COUNTED and metric != VANISHED
    ]


def _class_faults(ious: Mapping[str, float], name: str, class_names: Sequence[str]) -> list[tuple[str, str]]:
    objects = {c: v for c, v in ious.items() if c != class_names[0]}
    zero = [c for c, v in objects.items() if v == 0]
    if objects and len(zero) == len(objects):
        return [("bad", f"{name}: every class has IoU 0: the masks are all background, or wrong everywhere")]
    if len(objects) > 2 and len(objects) - len(zero) == 1:
        return [("bad", f"{name}: only {next(c for c in objects if c not in zero)} is ever found")]
    return [("note", f"{name}: IoU 0 for {', '.join(zero)}")] if zero else []


def _threshold_faults(metrics: Metrics, key: Key, name: str) -> list[tuple[str, str]]:
    configured, top, curve = metrics.get(key, "miou"), metrics.get(key, "miou_best"), metrics.curve(key, "miou_curve")
    out = []
    if top is not None and curve and top.threshold in (curve[0][0], curve[-1][0]):
        out.append(
            (
                "note",
                f"{name}: the best threshold, {top.threshold:g}, is at the edge of the sweep; widen evaluate.sweep_max, or the scores carry little",
            )
        )
    if (
        top is not None
        and configured is not None
        and configured.threshold is not None
        and top.value - configured.value > 0.05
    ):
        out.append(
            (
                "note",
                f"{name}: the configured threshold {configured.threshold:g} costs {percent(top.value - configured.value)} points against {top.threshold:g}",
            )
        )
    return out


def _steps_down(plan: Mapping[str, Any], metrics: Metrics) -> list[tuple[str, str]]:
    """Stages that made things worse than the stage before."""
    out = []
    for method in plan["methods"]:
        rows = [(s, metrics.main(Key.of(s))) for s in plan["stages"] if s["method"] == method and s["split"] == "train"]
        value = {
            stage: next((v for s, v in rows if s["stage"] == stage and s["cycle"] in (None, 0)), None)
            for stage in ("seed", "pseudo")
        }
        first = next((v for s, v in rows if s["stage"] == "scores" and s["round"] == 1), None)
        fused = next((v for s, v in rows if s["stage"] == "fused"), None)
        if first is not None and fused is not None and fused < first - 0.001:
            out.append(
                (
                    "note",
                    f"{method}: fused scores ({percent(fused)}) are below round 1's ({percent(first)}): later rounds add wrong regions",
                )
            )
        if value["seed"] is not None and value["pseudo"] is not None and value["pseudo"] < value["seed"]:
            out.append(
                ("note", f"{method}: refining lowered mIoU from {percent(value['seed'])} to {percent(value['pseudo'])}")
            )
        for s, v in rows:
            if s["stage"] == "prediction" and v is not None and value["pseudo"] is not None and v < value["pseudo"]:
                out.append(
                    (
                        "note",
                        f"{name_of(s)}: {percent(v)}, below the pseudo masks of cycle 0 ({percent(value['pseudo'])})",
                    )
                )
    return out
