"""Tables, headline and warnings, made from the numbers. Pure: nothing is read or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsss.settings.kinds import saliency_kinds
from wsss.stages.report.gather import FULL, Key, Metrics, Value, followed_method

DASH = "–"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the stage table: the group above, the name, and which artefact and metric it shows."""

    group: str
    name: str
    stage: str
    metric: str
    round: int | None = None


@dataclass(kw_only=True)
class Cell:
    """One cell: text, the number behind it, a note shown when pointed at, and whether it is its column's best."""

    text: str
    value: float | None
    note: str = ""
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class StageTable:
    """Method × stage: groups (name, columns) over columns, and (method, cells) a row."""

    groups: list[tuple[str, int]]
    columns: list[Column]
    rows: list[tuple[str, list[Cell]]]


@dataclass(frozen=True, kw_only=True)
class SegmenterTable:
    """One row a trained segmenter: (method, variant, cycle, cells). `full` tells that weak/full is the last column."""

    columns: list[str]
    rows: list[tuple[str, str, int, list[Cell]]]
    full: bool


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as percent, or a dash."""
    return DASH if value is None else f"{100 * value:.{digits}f}"


def stage_columns(stages: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Columns in the order data flows, up to the pseudo masks of cycle 0; only what the plan holds."""
    rounds = sorted({s["round"] for s in stages if s["stage"] == "scores"})
    columns = [
        Column(group="scores of round, best threshold", name=str(r), stage="scores", metric="miou_best", round=r)
        for r in rounds
    ]
    have = {s["stage"] for s in stages}
    if "fused" in have:
        columns.append(Column(group="fused", name="best thr.", stage="fused", metric="miou_best"))
    if "seed" in have:
        columns += [
            Column(group="seed", name="mIoU", stage="seed", metric="miou"),
            Column(group="seed", name="coverage", stage="seed", metric="coverage"),
        ]
    if "pseudo" in have:
        columns.append(Column(group="pseudo", name="mIoU", stage="pseudo", metric="miou"))
    return columns


def stage_table(plan: Mapping[str, Any], metrics: Metrics) -> StageTable:
    """Method × stage on the training images, the best of each column marked."""
    columns = stage_columns(plan["stages"])
    rows = [(method, [_stage_cell(plan["stages"], metrics, method, c) for c in columns]) for method in plan["methods"]]
    mark_best([cells for _, cells in rows])
    groups: list[tuple[str, int]] = []
    for column in columns:
        groups = (
            [*groups[:-1], (column.group, groups[-1][1] + 1)]
            if groups and groups[-1][0] == column.group
            else [*groups, (column.group, 1)]
        )
    return StageTable(groups=groups, columns=columns, rows=rows)


def _stage_cell(stages: Sequence[Mapping[str, Any]], metrics: Metrics, method: str, column: Column) -> Cell:
    for s in stages:
        if (s["method"], s["stage"], s["round"], s["split"]) == (method, column.stage, column.round, "train") and not s[
            "cycle"
        ]:
            return _cell(metrics.get(Key.of(s), column.metric))
    return _cell(None)


def segmenter_table(plan: Mapping[str, Any], metrics: Metrics) -> SegmenterTable:
    """What trained each segmenter and what it says, the best of each column marked (the fully supervised reference left out of that)."""
    stages = plan["stages"]
    trained = dict.fromkeys((s["method"], s["variant"], s["cycle"]) for s in stages if s["stage"] == "prediction")
    full = next(
        (
            v.value
            for s in stages
            if (s["method"], s["stage"], s["split"]) == (FULL, "prediction", "val")
            and (v := metrics.get(Key.of(s), "miou"))
        ),
        None,
    )
    rows = []
    for method, variant, cycle in trained:
        own = [
            s
            for s in stages
            if (s["method"], s["cycle"]) == (method, cycle)
            and (s["variant"] == variant or (s["stage"] == "pseudo" and cycle == 0))
        ]  # cycle 0's are shared
        cells = [
            _cell(next((metrics.get(Key.of(s), "miou") for s in own if (s["stage"], s["split"]) == k), None))
            for k in SEGMENTER_CELLS
        ]
        if any(m == FULL for m, _, _ in trained):
            share = cells[2].value / full if full and cells[2].value is not None and method != FULL else None
            cells.append(Cell(text=percent(share), value=share))
        rows.append((method, variant, cycle, cells))
    mark_best([cells for method, _, _, cells in rows if method != FULL])
    has_full = any(m == FULL for m, _, _ in trained)
    return SegmenterTable(
        columns=[
            "pseudo mask, train",
            "prediction, train",
            "prediction, val",
            *(["weak / full, val"] if has_full else []),
        ],
        rows=rows,
        full=has_full,
    )


SEGMENTER_CELLS = (("pseudo", "train"), ("prediction", "train"), ("prediction", "val"))


def _cell(found: Value | None) -> Cell:
    if found is None:
        return Cell(text=DASH, value=None)
    return Cell(
        text=percent(found.value),
        value=found.value,
        note=f"at background threshold {found.threshold:g}" if found.threshold is not None else "",
    )


def mark_best(rows: Sequence[Sequence[Cell]]) -> None:
    """Mark the best cells of every column (in place), unless all are equal."""
    for column in zip(*rows, strict=True):
        cells = [cell for cell in column if cell.value is not None]
        top = percent(max((c.value for c in cells if c.value is not None), default=None))
        for cell in cells:
            cell.best = cell.text == top and any(other.text != top for other in cells)


# ---------------------------------------------------------------- every figure


MAP_METRICS = ("miou", "miou_best", "precision", "recall")
MASK_METRICS = (
    "miou",
    "miou_labelled",
    "coverage",
    "precision",
    "recall",
    "precision_labelled",
    "pixel_accuracy",
    "confusion_ratio",
)


def name_of(stage: Mapping[str, Any]) -> str:
    """A stage's artefact in words, e.g. "erasing · psl, cycle 1, prediction (val)"."""
    name = stage["method"] + (
        f" · {stage['variant']}" if stage["variant"] and (stage["stage"] == "prediction" or stage["cycle"]) else ""
    )
    place = (
        f", round {stage['round']}"
        if stage["round"] is not None
        else f", cycle {stage['cycle']}"
        if stage["cycle"] is not None
        else ""
    )
    if stage.get("exported"):
        return f"{name}, exported masks ({stage['split']})"
    return f"{name}{place}, {'pseudo masks' if stage['stage'] == 'pseudo' else stage['stage']} ({stage['split']})"


@dataclass(frozen=True, kw_only=True)
class DetailTable:
    """Every figure of score maps or of masks: metric names, and (artefact, texts) a row."""

    what: str
    names: list[str]
    rows: list[tuple[str, list[str]]]


def detail_table(plan: Mapping[str, Any], metrics: Metrics, *, maps: bool) -> DetailTable:
    """Every measured artefact of score maps or of masks; metrics that none has are left out."""
    names = MAP_METRICS if maps else MASK_METRICS
    wanted = [s for s in plan["stages"] if (s["stage"] in ("scores", "fused")) == maps and s["stage"] != "regions"]
    rows = [(name_of(s), [_detail(metrics, Key.of(s), n) for n in names]) for s in wanted]
    kept = [k for k in range(len(names)) if any(texts[k] != DASH for _, texts in rows)]
    return DetailTable(
        what="score maps" if maps else "masks",
        names=[names[k] for k in kept],
        rows=[(name, [texts[k] for k in kept]) for name, texts in rows] if kept else [],
    )


def _detail(metrics: Metrics, key: Key, name: str) -> str:
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


def headline(plan: Mapping[str, Any], metrics: Metrics) -> Headline:
    """Best pseudo masks, the final validation prediction (the last one, not the best), and its share of full supervision."""
    levels = {saliency_kinds()[cue].level for cue in plan["cues"].values()}
    source = next((words for level, words in SOURCES.items() if level in levels), "image-level labels alone")
    found = {stage: best(plan, metrics, stage=stage, split="train") for stage in ("fused", "seed", "pseudo")} | {
        "prediction": final(plan, metrics)
    }
    words = {"fused": "Fused scores", "seed": "Seeds", "pseudo": "Pseudo masks", "prediction": "Prediction, val"}
    tiles = [
        (percent(f[1]), "mIoU", f"{words[stage]} · {f[0]['method']}") for stage, f in found.items() if f is not None
    ]
    if not tiles:
        return Headline(sentence=f"Masks were made from {source}; none of them is measured against truth.", tiles=[])
    texts = {
        "pseudo": "the best pseudo masks reach {} mIoU on training images ({})",
        "prediction": "the final prediction {} mIoU on validation images ({})",
    }
    said = [text.format(percent(f[1]), _who(f[0])) for stage, text in texts.items() if (f := found[stage]) is not None]
    sentence = (
        f"From {source}, " + " and ".join(said) + "."
        if said
        else f"From {source}, the best {words[_last(found)].lower()} reach {tiles[-1][0]} mIoU."
    )
    weak, full = found["prediction"], best(plan, metrics, stage="prediction", split="val", full=True)
    if weak is not None and full is not None and full[1] > 0:
        tiles.append((percent(weak[1] / full[1], 0), "%", "of full supervision"))
        sentence += f" That is {percent(weak[1] / full[1], 0)} % of the same network trained with full masks ({percent(full[1])})."
    return Headline(sentence=sentence, tiles=tiles)


def _last(found: Mapping[str, object]) -> str:
    return [stage for stage, value in found.items() if value is not None][-1]


def final(plan: Mapping[str, Any], metrics: Metrics) -> tuple[Mapping[str, Any], float] | None:
    """The last validation prediction of the followed method, and its mIoU."""
    rows = [
        s
        for s in plan["stages"]
        if (s["method"], s["stage"], s["split"]) == (followed_method(plan), "prediction", "val")
    ]
    value = metrics.main(Key.of(rows[-1])) if rows else None
    return None if value is None else (rows[-1], value)


def best(
    plan: Mapping[str, Any], metrics: Metrics, *, stage: str, split: str, full: bool = False
) -> tuple[Mapping[str, Any], float] | None:
    """The plan's stage with the highest main figure, and that figure."""
    rows = [s for s in plan["stages"] if s["stage"] == stage and s["split"] == split and (s["method"] == FULL) == full]
    found = [(s, value) for s in rows if (value := metrics.main(Key.of(s))) is not None]
    return max(found, key=lambda f: f[1], default=None)


def _who(stage: Mapping[str, Any]) -> str:
    named = stage["stage"] == "prediction" or stage["cycle"]
    cycle = (
        ", exported masks"
        if stage.get("exported")
        else f", cycle {stage['cycle']}"
        if stage["cycle"] is not None
        else ""
    )
    return stage["method"] + (f" · {stage['variant']}" if named and stage["variant"] else "") + cycle
