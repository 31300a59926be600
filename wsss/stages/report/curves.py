"""The page's charts, from the numbers of a run. Pure: nothing is read or written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from wsss.stages.report.charts import Axis, Series, bars, legend, line_chart
from wsss.stages.report.jobs import ReadRecord
from wsss.stages.report.metrics import Metrics
from wsss.workflow.rows import MeasuredArtefact, RunPlan


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of the page: heading, what it shows, its markup, and whether it takes the whole width."""

    heading: str
    text: str
    markup: Markup
    wide: bool = False


def charts(plan: RunPlan, metrics: Metrics, records: Sequence[ReadRecord]) -> list[Chart]:
    """The charts that have something to show."""
    found = [
        Chart(
            heading="From stage to stage",
            text="mIoU on the training images; dashed: validation images.",
            markup=stage_chart(plan, metrics),
            wide=True,
        ),
        Chart(
            heading="Threshold",
            text="mIoU of score maps against one constant background threshold, the same sweep for every method. "
            "Ring: best.",
            markup=threshold_chart(plan, metrics),
        ),
        Chart(
            heading="Precision and recall",
            text="The same sweep: mean precision and recall of the classes at each threshold. "
            "Ring: threshold of the best mIoU.",
            markup=precision_recall_chart(plan, metrics),
        ),
        Chart(
            heading="Loss of the classifiers",
            text="Mean over an epoch. Where rounds erase, later ones see less of the objects, so their loss stays "
            "higher; a loss below 0 is maximised on purpose, as in ESOL-style expansion.",
            markup=loss_chart(records, kind="classifier"),
        ),
        Chart(
            heading="Loss of the segmenters",
            text="Mean over an epoch, all terms together.",
            markup=loss_chart(records, kind="segmenter"),
        ),
    ]
    return [chart for chart in found if chart.markup]


# ---------------------------------------------------------------- sweeps


def swept(plan: RunPlan) -> list[tuple[str, MeasuredArtefact]]:
    """(name, artefact) of every score map that is swept, each once.

    A shared round names all its methods. The fusion of a single round is left out: it equals that round.
    """
    owners: dict[tuple[str, ...], list[str]] = {}
    for a in plan.find(stage="scores"):
        owners.setdefault(tuple(a.files), []).append(a.method)
    out = []
    for a in plan.artefacts:
        if a.stage == "scores" and tuple(a.files) in owners:
            methods = dict.fromkeys(owners.pop(tuple(a.files)))
            out.append((f"{' = '.join(methods)}, round {a.round}", a))
        elif a.stage == "fused" and len(plan.find(stage="scores", method=a.method)) > 1:
            out.append((f"{a.method}, fused", a))
    return out


def threshold_chart(plan: RunPlan, metrics: Metrics) -> Markup:
    """MIoU against the constant background threshold; the best of each line marked."""
    series = []
    for k, (name, artefact) in enumerate(swept(plan)):
        points = [(t, 100 * v) for t, v in metrics.curve(artefact.key, "miou_curve")]
        top = max(points, key=lambda p: p[1], default=None)
        series.append(Series(name=name, points=points, colour=k, dashed=artefact.stage == "fused", mark=top))
    return line_chart(
        series,
        x=Axis(label="background threshold"),
        y=Axis(label="mIoU, %", low=0),
        title="mIoU against the background threshold",
    )


def precision_recall_chart(plan: RunPlan, metrics: Metrics) -> Markup:
    """Precision against recall over all thresholds; the point of the best mIoU marked."""
    series = []
    for k, (name, artefact) in enumerate(swept(plan)):
        precision, recall = (dict(metrics.curve(artefact.key, m)) for m in ("precision", "recall"))
        points = {t: (100 * recall[t], 100 * precision[t]) for t in precision.keys() & recall.keys()}
        best = metrics.get(artefact.key, "miou_best")
        mark = points.get(best.threshold) if best is not None and best.threshold is not None else None
        dashed = artefact.stage == "fused"
        series.append(Series(name=name, points=sorted(points.values()), colour=k, dashed=dashed, mark=mark))
    return line_chart(series, x=Axis(label="recall, %"), y=Axis(label="precision, %"), title="Precision against recall")


def loss_chart(records: Sequence[ReadRecord], *, kind: str) -> Markup:
    """Loss per epoch of every training of a kind (classifier, segmenter)."""
    series = []
    for k, r in enumerate(r for r in records if r.record.kind == kind):
        points = [(float(e["epoch"]), float(e["loss"])) for e in r.figures.get("loss_curve", [])]
        series.append(Series(name=r.name, points=points, colour=k, dots=len(points) < 3))
    return line_chart(series, x=Axis(label="epoch"), y=Axis(label="loss", low=0), title=f"Loss per epoch, {kind}")


# ---------------------------------------------------------------- stages


@dataclass(frozen=True, kw_only=True)
class Step:
    """A place on the horizontal axis of the stage chart; `cycle` is None before the segmenters."""

    stage: str
    name: str
    cycle: int | None = None

    def shows(self, artefact: MeasuredArtefact) -> bool:
        """Whether the artefact belongs here, of whichever method and split."""
        return artefact.stage == self.stage and self.cycle in (None, artefact.cycle)


FIRST_STEPS = (
    Step(stage="scores", name="scores\nbest thr."),
    Step(stage="fused", name="fused\nbest thr."),
    Step(stage="seed", name="seed"),
)


def stage_chart(plan: RunPlan, metrics: Metrics) -> Markup:
    """MIoU from stage to stage on the training images, a line a method and variant; dashed: validation images."""
    steps = _steps(plan)
    series: list[Series] = []
    colour = 0
    for method, variant in _lines(plan):
        lines = _both_splits(plan, metrics, steps, method=method, variant=variant, colour=colour)
        series += lines
        colour += bool(lines)
    return line_chart(
        series,
        x=Axis(label="", low=0, high=len(steps) - 1, names=[step.name for step in steps]),
        y=Axis(label="mIoU, %"),
        width=960,
        height=330,
        title="mIoU from stage to stage",
    )


def _steps(plan: RunPlan) -> list[Step]:
    """The steps that some artefact belongs to: seeds, then pseudo masks and predictions cycle by cycle."""
    predicted = {a.cycle for a in plan.find(stage="prediction")}
    exported = {a.cycle for a in plan.find(exported=True)} - predicted
    steps = [*FIRST_STEPS]
    for c in sorted({a.cycle for a in plan.artefacts if a.cycle is not None}):
        masks = "exported\nmasks" if c in exported else f"pseudo\ncycle {c}"
        steps.append(Step(stage="pseudo", name=masks, cycle=c))
        steps.append(Step(stage="prediction", name=f"prediction\ncycle {c}", cycle=c))
    return [step for step in steps if any(step.shows(a) for a in plan.artefacts)]


def _lines(plan: RunPlan) -> Iterator[tuple[str, str]]:
    """(method, variant) of every line; the variant is "" of a method without segmenters."""
    for method in plan.methods:
        variants = dict.fromkeys(a.variant for a in plan.find(method=method, stage="prediction"))
        for variant in variants or [""]:
            yield method, variant


def _both_splits(
    plan: RunPlan, metrics: Metrics, steps: Sequence[Step], *, method: str, variant: str, colour: int
) -> list[Series]:
    """The line of the training images and that of the validation images; without points there is none."""
    name = f"{method} · {variant}" if variant else method
    points = {
        split: list(_stage_points(plan.find(method=method, split=split), metrics, steps, variant=variant))
        for split in ("train", "val")
    }
    lines = (
        Series(name=name, points=points["train"], colour=colour, dots=True),
        Series(name=f"{name}, val", points=points["val"], colour=colour, dots=True, dashed=True),
    )
    return [line for line in lines if line.points]


def _stage_points(
    own: Sequence[MeasuredArtefact], metrics: Metrics, steps: Sequence[Step], *, variant: str
) -> Iterator[tuple[float, float]]:
    """(step, mIoU in percent) of a method's artefacts; of several rounds the first, which is plain CAM."""
    for x, step in enumerate(steps):
        shared = step.stage != "prediction" and not step.cycle  # by all variants
        found = [a for a in own if step.shows(a) and (shared or a.variant == variant)]
        value = metrics.main(found[0].key) if found else None
        if value is not None:
            yield float(x), 100 * value


# ---------------------------------------------------------------- classes

BAR_STAGES = (
    ("scores", "train", "scores, round 1"),
    ("fused", "train", "fused"),
    ("seed", "train", "seed"),
    ("pseudo", "train", "pseudo mask"),
    ("prediction", "val", "prediction, val"),
)
"""Stage, split and name of the bars of a class."""


def class_bars(plan: RunPlan, metrics: Metrics, *, class_names: Sequence[str], method: str) -> Markup:
    """IoU of each class from stage to stage for one method: the first round's scores, then the last of each stage."""
    picked = []
    for stage, split, name in BAR_STAGES:
        found = plan.find(method=method, stage=stage, split=split)
        shown = found[:1] if stage == "scores" else found[-1:]
        picked += [(name, values) for a in shown if (values := metrics.by_class(a.key, "iou"))]
    if not picked:
        return Markup("")
    groups = [
        (c, [(name, k, values.get(c)) for k, (name, values) in enumerate(picked)])
        for c in class_names
        if any(c in values for _, values in picked)
    ]
    names = legend([(name, k, False) for k, (name, _) in enumerate(picked)])
    return names + Markup('<div class="barflow">{}</div>').format(bars(groups))
