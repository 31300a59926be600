"""What deserves a look: results that failed silently, and steps that made things worse. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wsss.stages.report.cells import percent
from wsss.stages.report.metrics import Metrics
from wsss.stages.report.names import name_of
from wsss.workflow.rows import ArtefactKey, RunPlan

BAD, NOTE = "bad", "note"
"""Levels: a result that failed silently, and what deserves a look."""
LOW_COVERAGE, NO_COVERAGE = 0.3, 0.05
"""Share of labelled pixels below which a note or a bad result is reported."""
THRESHOLD_COST = 0.05
"""MIoU that a configured threshold may lose against the best one before it is reported."""


def warnings(plan: RunPlan, metrics: Metrics, *, class_names: Sequence[str], has_truth: bool) -> list[tuple[str, str]]:
    """(level, text) of every fault, artefact by artefact, then of the steps that made things worse."""
    out: list[tuple[str, str]] = []
    for artefact in plan.artefacts:
        if artefact.stage == "regions":
            continue
        key, name = artefact.key, name_of(artefact)
        ious, covered = metrics.by_class(key, "iou"), metrics.number(key, "coverage")
        if has_truth and metrics.main(key) is None and not ious and covered is None:
            out.append((NOTE, f"{name}: no numbers in metrics.csv"))
        out += _counted_faults(metrics, key, name) or _class_faults(ious, name, class_names)
        out += _threshold_faults(metrics, key, name)
        if covered is not None and covered < LOW_COVERAGE:
            level = BAD if covered < NO_COVERAGE else NOTE
            out.append((level, f"{name}: only {percent(covered)} % of the pixels have a label"))
    return [*out, *_steps_down(plan, metrics)]


COUNTED = {
    "warning_all_background": "every mask is background or unlabelled",
    "warning_single_class": "the masks hold a single class",
}
VANISHED = "warning_empty_class"


def _counted_faults(metrics: Metrics, key: ArtefactKey, name: str) -> list[tuple[str, str]]:
    """Faults that evaluation counted on the maps and masks themselves, with or without truth."""
    found = metrics.warnings(key)
    bad = [(BAD, f"{name}: {words}") for metric, words in COUNTED.items() if metric in found]
    if VANISHED in found:
        bad.append((BAD, f"{name}: no pixel of {', '.join(found[VANISHED])}, which the labels name"))
    others = {metric: classes for metric, classes in found.items() if metric not in (*COUNTED, VANISHED)}
    return bad + [(NOTE, f"{name}: {metric} {', '.join(classes)}".rstrip()) for metric, classes in others.items()]


def _class_faults(ious: Mapping[str, float], name: str, class_names: Sequence[str]) -> list[tuple[str, str]]:
    """Classes that are never right."""
    objects = {c: v for c, v in ious.items() if c != class_names[0]}
    zero = [c for c, v in objects.items() if v == 0]
    found = [c for c, v in objects.items() if v != 0]
    if objects and not found:
        return [(BAD, f"{name}: every class has IoU 0: the masks are all background, or wrong everywhere")]
    if len(objects) > 2 and len(found) == 1:
        return [(BAD, f"{name}: only {found[0]} is ever found")]
    return [(NOTE, f"{name}: IoU 0 for {', '.join(zero)}")] if zero else []


def _threshold_faults(metrics: Metrics, key: ArtefactKey, name: str) -> Iterator[tuple[str, str]]:
    """A best threshold at the edge of the sweep, and a configured one that costs much."""
    configured, best = metrics.get(key, "miou"), metrics.get(key, "miou_best")
    if best is None:
        return
    curve = metrics.curve(key, "miou_curve")
    if curve and best.threshold in (curve[0][0], curve[-1][0]):
        where = f"the best threshold, {best.threshold:g}, is at the edge of the sweep"
        yield NOTE, f"{name}: {where}; widen evaluate.sweep_max, or the scores carry little"
    if configured is None or configured.threshold is None:
        return
    cost = best.value - configured.value
    if cost > THRESHOLD_COST:
        text = f"the configured threshold {configured.threshold:g} costs {percent(cost)} points"
        yield NOTE, f"{name}: {text} against {best.threshold:g}"


def _steps_down(plan: RunPlan, metrics: Metrics) -> Iterator[tuple[str, str]]:
    """Stages that made things worse than the stage before, on the training images."""
    for method in plan.methods:
        first, fused, seed, pseudo = (
            _first_main(plan, metrics, method=method, **kind)
            for kind in (
                {"stage": "scores", "round": 1},
                {"stage": "fused"},
                {"stage": "seed"},
                {"stage": "pseudo", "cycle": 0},
            )
        )
        if first is not None and fused is not None and fused < first - 0.001:
            text = f"fused scores ({percent(fused)}) are below round 1's ({percent(first)})"
            yield NOTE, f"{method}: {text}: later rounds add wrong regions"
        if pseudo is None:
            continue
        if seed is not None and pseudo < seed:
            yield NOTE, f"{method}: refining lowered mIoU from {percent(seed)} to {percent(pseudo)}"
        for a in plan.find(method=method, stage="prediction", split="train"):
            value = metrics.main(a.key)
            if value is not None and value < pseudo:
                yield NOTE, f"{name_of(a)}: {percent(value)}, below the pseudo masks of cycle 0 ({percent(pseudo)})"


def _first_main(plan: RunPlan, metrics: Metrics, **wanted: object) -> float | None:
    """The main figure of the first such artefact."""
    found = plan.find(split="train", **wanted)
    return metrics.main(found[0].key) if found else None
