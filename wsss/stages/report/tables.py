"""The page's tables of figures and its headline, made from the numbers. Pure: nothing is read or written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from wsss.settings.kinds import saliency_kinds
from wsss.stages.report.cells import DASH, Cell, cell_of, mark_best, percent
from wsss.stages.report.metrics import Metrics
from wsss.stages.report.names import name_of, short_name
from wsss.stages.report.plan import followed_method
from wsss.workflow.rows import FULL_SUPERVISION, ArtefactKey, MeasuredArtefact, RunPlan

# ---------------------------------------------------------------- method × stage


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the stage table: the group above, the name, and which artefact and metric it shows."""

    group: str
    name: str
    stage: str
    metric: str
    round: int | None = None


@dataclass(frozen=True, kw_only=True)
class StageTable:
    """Method × stage: groups (name, number of columns) over columns, and (method, cells) a row."""

    groups: list[tuple[str, int]]
    columns: list[Column]
    rows: list[tuple[str, list[Cell]]]


def stage_table(plan: RunPlan, metrics: Metrics) -> StageTable:
    """Method × stage on the training images, the best of each column marked."""
    columns = stage_columns(plan)
    rows = [(method, [_stage_cell(plan, metrics, method, c) for c in columns]) for method in plan.methods]
    mark_best([cells for _, cells in rows])
    groups = [(group, len(list(own))) for group, own in groupby(columns, key=lambda c: c.group)]
    return StageTable(groups=groups, columns=columns, rows=rows)


def stage_columns(plan: RunPlan) -> list[Column]:
    """Columns in the order data flows, up to the pseudo masks of cycle 0; only what the plan has."""
    rounds = sorted({a.round for a in plan.find(stage="scores") if a.round is not None})
    scores = "scores of round, best threshold"
    columns = [Column(group=scores, name=str(r), stage="scores", metric="miou_best", round=r) for r in rounds]
    columns += [
        Column(group="fused", name="best thr.", stage="fused", metric="miou_best"),
        Column(group="seed", name="mIoU", stage="seed", metric="miou"),
        Column(group="seed", name="coverage", stage="seed", metric="coverage"),
        Column(group="pseudo", name="mIoU", stage="pseudo", metric="miou"),
    ]
    return [column for column in columns if plan.find(stage=column.stage)]


def _stage_cell(plan: RunPlan, metrics: Metrics, method: str, column: Column) -> Cell:
    found = plan.find(method=method, stage=column.stage, round=column.round, split="train")
    first = next((a for a in found if not a.cycle), None)
    return cell_of(metrics.get(first.key, column.metric) if first else None)


# ---------------------------------------------------------------- segmenters


@dataclass(frozen=True, kw_only=True)
class SegmenterTable:
    """One row a trained segmenter: (method, variant, cycle, cells). With `full`, weak/full is the last column."""

    columns: list[str]
    rows: list[tuple[str, str, int, list[Cell]]]
    full: bool


def segmenter_table(plan: RunPlan, metrics: Metrics) -> SegmenterTable:
    """What trained each segmenter and what it predicts.

    The best of each column is marked. The fully supervised reference does not take part in that.
    """
    trained = dict.fromkeys((a.method, a.variant, a.cycle) for a in plan.find(stage="prediction"))
    has_full = any(method == FULL_SUPERVISION for method, _, _ in trained)
    reference = _miou(plan.find(method=FULL_SUPERVISION, stage="prediction", split="val"), metrics)
    rows = []
    for method, variant, cycle in trained:
        assert cycle is not None
        cells = _segmenter_cells(plan, metrics, method, variant, cycle)
        if has_full:
            weak = cells[-1].value if method != FULL_SUPERVISION else None
            share = weak / reference if reference and weak is not None else None
            cells.append(Cell(text=percent(share), value=share))
        rows.append((method, variant, cycle, cells))
    mark_best([cells for method, _, _, cells in rows if method != FULL_SUPERVISION])
    columns = ["pseudo mask, train", "prediction, train", "prediction, val"]
    return SegmenterTable(columns=columns + ["weak / full, val"] * has_full, rows=rows, full=has_full)


def _segmenter_cells(plan: RunPlan, metrics: Metrics, method: str, variant: str, cycle: int) -> list[Cell]:
    """MIoU of the masks that trained it, and of its predictions on both splits."""
    own = {"method": method, "cycle": cycle, "variant": variant}
    masks = {"method": method, "cycle": cycle} if cycle == 0 else own  # cycle 0's masks are shared by all variants
    parts = (
        plan.find(stage="pseudo", split="train", **masks),
        plan.find(stage="prediction", split="train", **own),
        plan.find(stage="prediction", split="val", **own),
    )
    return [cell_of(metrics.get(found[0].key, "miou") if found else None) for found in parts]


def _miou(artefacts: Iterable[MeasuredArtefact], metrics: Metrics) -> float | None:
    """The first mIoU that was measured."""
    return next((value for a in artefacts if (value := metrics.number(a.key, "miou")) is not None), None)


# ---------------------------------------------------------------- every figure

MAP_METRICS = ("miou", "miou_best", "precision", "recall")
MASK_METRICS = (
    *("miou", "miou_labelled", "coverage", "precision"),
    *("recall", "precision_labelled", "pixel_accuracy", "confusion_ratio"),
)


@dataclass(frozen=True, kw_only=True)
class DetailTable:
    """Every figure of score maps or of masks: metric names, and (artefact, texts) a row."""

    what: str
    names: list[str]
    rows: list[tuple[str, list[str]]]


def detail_table(plan: RunPlan, metrics: Metrics, *, maps: bool) -> DetailTable:
    """Every measured artefact of score maps or of masks; metrics that none has are left out."""
    names = MAP_METRICS if maps else MASK_METRICS
    shown = [a for a in plan.artefacts if a.has_maps == maps and a.stage != "regions"]
    rows = [(name_of(a), [_detail(metrics, a.key, name) for name in names]) for a in shown]
    kept = [k for k in range(len(names)) if any(texts[k] != DASH for _, texts in rows)]
    return DetailTable(
        what="score maps" if maps else "masks",
        names=[names[k] for k in kept],
        rows=[(name, [texts[k] for k in kept]) for name, texts in rows] if kept else [],
    )


def _detail(metrics: Metrics, key: ArtefactKey, name: str) -> str:
    if name == "confusion_ratio":
        return ", ".join(f"{v:.2f} ({c})" for c, v in metrics.by_class(key, name).items()) or DASH
    best = metrics.get(key, "miou_best")
    if name in ("precision", "recall") and best is not None:
        return percent(dict(metrics.curve(key, name)).get(best.threshold or 0.0))
    found = metrics.get(key, name)
    if found is None:
        return DASH
    return percent(found.value) + (f" at {found.threshold:g}" if found.threshold is not None else "")


# ---------------------------------------------------------------- headline


SOURCES = {
    "pixels": "image-level labels and a trained saliency model",
    "given": "image-level labels and given saliency maps",
}
"""What masks are made from, by what trained the saliency (`SaliencyKind.level`), the strongest first.

If no method has saliency of these levels: image-level labels alone.
"""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The page's one sentence and its figures: (value, unit, label)."""

    sentence: str
    tiles: list[tuple[str, str, str]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """An artefact and the figure that it is judged by."""

    artefact: MeasuredArtefact
    value: float


RESULTS = {"fused": "Fused scores", "seed": "Seeds", "pseudo": "Pseudo masks", "prediction": "Prediction, val"}
"""What the headline's figures are about, as data flows."""
CLAIMS = {
    "pseudo": "the best pseudo masks reach {} mIoU on training images ({})",
    "prediction": "the final prediction {} mIoU on validation images ({})",
}


def headline(plan: RunPlan, metrics: Metrics) -> Headline:
    """The best pseudo masks, the final validation prediction (the last, not the best), and its share of full."""
    levels = {saliency_kinds()[cue].level for cue in plan.cues.values()}
    source = next((words for level, words in SOURCES.items() if level in levels), "image-level labels alone")
    found = _results(plan, metrics)
    if not found:
        return Headline(sentence=f"Masks were made from {source}; none of them is measured against truth.", tiles=[])
    tiles = [(percent(r.value), "mIoU", f"{RESULTS[stage]} · {r.artefact.method}") for stage, r in found.items()]
    claims = [
        text.format(percent(found[stage].value), short_name(found[stage].artefact))
        for stage, text in CLAIMS.items()
        if stage in found
    ]
    last = list(found)[-1]
    alone = f"the best {RESULTS[last].lower()} reach {percent(found[last].value)} mIoU"
    sentence = f"From {source}, {' and '.join(claims) or alone}."
    reference = best(plan.find(method=FULL_SUPERVISION, stage="prediction", split="val"), metrics)
    if "prediction" in found and reference is not None and reference.value > 0:
        share = percent(found["prediction"].value / reference.value, 0)
        tiles.append((share, "%", "of full supervision"))
        whole = percent(reference.value)
        sentence += f" That is {share} % of the same network trained with full masks ({whole})."
    return Headline(sentence=sentence, tiles=tiles)


def _results(plan: RunPlan, metrics: Metrics) -> Mapping[str, Result]:
    """The result of each stage that was measured, in the order of RESULTS."""
    weak = [a for a in plan.artefacts if a.method != FULL_SUPERVISION and a.split == "train"]
    found: dict[str, Result | None] = {
        stage: best([a for a in weak if a.stage == stage], metrics) for stage in ("fused", "seed", "pseudo")
    }
    found["prediction"] = final(plan, metrics)
    return {stage: result for stage, result in found.items() if result is not None}


def final(plan: RunPlan, metrics: Metrics) -> Result | None:
    """The last validation prediction of the followed method, if it is measured."""
    found = plan.find(method=followed_method(plan), stage="prediction", split="val")
    return best(found[-1:], metrics)


def best(artefacts: Sequence[MeasuredArtefact], metrics: Metrics) -> Result | None:
    """The artefact with the highest main figure, if any is measured."""
    found = [Result(artefact=a, value=value) for a in artefacts if (value := metrics.main(a.key)) is not None]
    return max(found, key=lambda r: r.value, default=None)
