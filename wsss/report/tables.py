"""Tables, headline and warnings, made from the numbers. Pure: nothing is read or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsss.report.gather import FULL, Key, Metrics

DASH = "–"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the stage table: the group above, the name, and which artefact and metric it shows."""

    group: str
    name: str
    stage: str
    metric: str
    round: int | None = None
    cycle: int | None = None
    split: str = "train"

    @property
    def shared(self) -> bool:
        """Whether a method's variants share it: everything before the segmenters."""
        return self.stage != "prediction" and not (self.stage == "pseudo" and self.cycle)


@dataclass(kw_only=True)
class Cell:
    """One cell: text, the number behind it, how many rows it spans, and whether it is its column's best."""

    text: str
    value: float | None
    span: int = 1
    best: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One method and variant. `first` rows carry the cells that variants share."""

    method: str
    variant: str
    span: int
    first: bool
    cells: list[Cell]


@dataclass(frozen=True, kw_only=True)
class StageTable:
    """Method × stage: groups (name, columns) over columns over rows."""

    groups: list[tuple[str, int]]
    columns: list[Column]
    rows: list[TableRow]


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as percent, or a dash."""
    return DASH if value is None else f"{100 * value:.{digits}f}"


def stage_columns(stages: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Columns in the order data flows; only what the plan holds."""
    rounds = sorted({s["round"] for s in stages if s["stage"] == "scores"})
    columns = [Column(group="scores of round, best threshold", name=str(r), stage="scores", metric="miou_best", round=r) for r in rounds]
    have = {s["stage"] for s in stages}
    if "fused" in have:
        columns.append(Column(group="fused", name="best thr.", stage="fused", metric="miou_best"))
    if "seed" in have:
        columns += [Column(group="seed", name="mIoU", stage="seed", metric="miou"), Column(group="seed", name="coverage", stage="seed", metric="coverage")]
    for cycle in sorted({s["cycle"] for s in stages if s["stage"] in ("pseudo", "prediction")}):
        group = f"cycle {cycle}"
        if any(s["stage"] == "pseudo" and s["cycle"] == cycle for s in stages):
            columns.append(Column(group=group, name="pseudo", stage="pseudo", metric="miou", cycle=cycle))
        for split in ("train", "val"):
            if any(s["stage"] == "prediction" and s["cycle"] == cycle and s["split"] == split for s in stages):
                columns.append(Column(group=group, name=f"pred. {split}", stage="prediction", metric="miou", cycle=cycle, split=split))
    return columns


def stage_table(plan: Mapping[str, Any], metrics: Metrics) -> StageTable:
    """The table method × stage, the best of each column marked (the fully supervised reference left out of that)."""
    stages = plan["stages"]
    columns = stage_columns(stages)
    rows = []
    methods = [*plan["methods"], *([FULL] if any(s["method"] == FULL for s in stages) else [])]
    for method in methods:
        variants = list(dict.fromkeys(s["variant"] for s in stages if s["method"] == method and s["stage"] == "prediction")) or [""]
        for k, variant in enumerate(variants):
            cells = [_cell(stages, metrics, c, method, variant, span=len(variants) if c.shared else 1) for c in columns if k == 0 or not c.shared]
            rows.append(TableRow(method=method, variant=variant, span=len(variants), first=k == 0, cells=cells))
    _mark_best(columns, [row for row in rows if row.method != FULL])
    groups: list[tuple[str, int]] = []
    for column in columns:
        groups = [*groups[:-1], (column.group, groups[-1][1] + 1)] if groups and groups[-1][0] == column.group else [*groups, (column.group, 1)]
    return StageTable(groups=groups, columns=columns, rows=rows)


def _cell(stages: Sequence[Mapping[str, Any]], metrics: Metrics, column: Column, method: str, variant: str, *, span: int) -> Cell:
    for stage in stages:
        same = (stage["method"], stage["stage"], stage["round"], stage["cycle"], stage["split"]) == (method, column.stage, column.round, column.cycle, column.split)
        if same and (column.shared or stage["variant"] == variant):
            found = metrics.get(Key.of(stage), column.metric)
            if found is not None:
                note = f"at background threshold {found.threshold:g}" if found.threshold is not None else ""
                return Cell(text=percent(found.value), value=found.value, span=span, note=note)
    return Cell(text=DASH, value=None, span=span)


def _mark_best(columns: Sequence[Column], rows: Sequence[TableRow]) -> None:
    for column in columns:
        cells = [cell for row in rows for c, cell in zip([c for c in columns if row.first or not c.shared], row.cells, strict=True) if c == column and cell.value is not None]
        top = max((c.value for c in cells if c.value is not None), default=None)
        for cell in cells:
            cell.best = cell.text == percent(top) and any(other.text != cell.text for other in cells)


# ---------------------------------------------------------------- every figure


MAP_METRICS = ("miou", "miou_best", "precision", "recall")
MASK_METRICS = ("miou", "miou_labelled", "coverage", "precision", "recall", "precision_labelled", "pixel_accuracy", "confusion_ratio")


def name_of(stage: Mapping[str, Any]) -> str:
    """A stage's artefact in words, e.g. "erasing · psl, cycle 1, prediction (val)"."""
    name = stage["method"] + (f" · {stage['variant']}" if stage["variant"] and (stage["stage"] == "prediction" or stage["cycle"]) else "")
    place = f", round {stage['round']}" if stage["round"] is not None else f", cycle {stage['cycle']}" if stage["cycle"] is not None else ""
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
    return DetailTable(what="score maps" if maps else "masks", names=[names[k] for k in kept], rows=[(name, [texts[k] for k in kept]) for name, texts in rows] if kept else [])


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


SOURCES = {"u2net": "image tags and a trained saliency model", "folder": "image tags and given saliency maps"}
"""What masks are made from, by saliency.kind; otherwise image tags alone."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The page's one sentence and its figures: (value, unit, label)."""

    sentence: str
    tiles: list[tuple[str, str, str]]


def headline(plan: Mapping[str, Any], metrics: Metrics) -> Headline:
    """Best pseudo masks, best validation prediction, and its share of full supervision."""
    source = SOURCES.get(plan["config"]["saliency"]["kind"], "image tags alone")
    tiles, parts = [], []
    for stage, split, words in (("fused", "train", "Fused scores"), ("seed", "train", "Seeds"), ("pseudo", "train", "Pseudo masks"), ("prediction", "val", "Prediction, val")):
        found = best(plan, metrics, stage=stage, split=split)
        if found is not None:
            tiles.append((percent(found[1]), "mIoU", f"{words} · {found[0]['method']}"))
            parts.append((stage, found))
    if not tiles:
        return Headline(sentence=f"Masks were made from {source}. The data set has no truth masks, so none of them is measured.", tiles=[])
    texts = {"pseudo": "pseudo masks reach {} mIoU on training images ({})", "prediction": "predictions {} mIoU on validation images ({})"}
    said = [texts[s].format(percent(v), _who(row)) for s, (row, v) in parts if s in texts]
    sentence = f"From {source}, " + " and ".join(said) + "." if said else f"From {source}, the best seeds reach {tiles[-1][0]} mIoU."
    weak, full = best(plan, metrics, stage="prediction", split="val"), best(plan, metrics, stage="prediction", split="val", full=True)
    if weak is not None and full is not None and full[1] > 0:
        tiles.append((percent(weak[1] / full[1], 0), "%", "of full supervision"))
        sentence += f" That is {percent(weak[1] / full[1], 0)} % of the same network trained with full masks ({percent(full[1])})."
    return Headline(sentence=sentence, tiles=tiles)


def best(plan: Mapping[str, Any], metrics: Metrics, *, stage: str, split: str, full: bool = False) -> tuple[Mapping[str, Any], float] | None:
    """The plan's stage with the highest main figure, and that figure."""
    rows = [s for s in plan["stages"] if s["stage"] == stage and s["split"] == split and (s["method"] == FULL) == full]
    found = [(s, value) for s in rows if (value := metrics.main(Key.of(s))) is not None]
    return max(found, key=lambda f: f[1], default=None)


def _who(stage: Mapping[str, Any]) -> str:
    named = stage["stage"] == "prediction" or stage["cycle"]
    cycle = f", cycle {stage['cycle']}" if stage["cycle"] is not None else ""
    return stage["method"] + (f" · {stage['variant']}" if named and stage["variant"] else "") + cycle


# ---------------------------------------------------------------- warnings


def warnings(plan: Mapping[str, Any], metrics: Metrics, *, class_names: Sequence[str], has_truth: bool) -> list[tuple[str, str]]:
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
            out.append(("bad" if covered < 0.05 else "note", f"{name}: only {percent(covered)} % of the pixels have a label"))
    return out + _steps_down(plan, metrics)


def _counted_faults(metrics: Metrics, key: Key, name: str) -> list[tuple[str, str]]:
    """What evaluation counted on the masks themselves, truth or none."""
    if metrics.number(key, "warning_all_background"):
        return [("bad", f"{name}: every mask is background or unlabelled")]
    if metrics.number(key, "warning_single_class"):
        return [("bad", f"{name}: the masks hold a single class")]
    empty = metrics.by_class(key, "warning_empty_class")
    return [("note", f"{name}: no pixel of {', '.join(empty)}")] if empty else []


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
        out.append(("note", f"{name}: the best threshold, {top.threshold:g}, is at the edge of the sweep; widen evaluate.sweep_max, or the scores carry little"))
    if top is not None and configured is not None and configured.threshold is not None and top.value - configured.value > 0.05:
        out.append(("note", f"{name}: the configured threshold {configured.threshold:g} costs {percent(top.value - configured.value)} points against {top.threshold:g}"))
    return out


def _steps_down(plan: Mapping[str, Any], metrics: Metrics) -> list[tuple[str, str]]:
    """Stages that made things worse than the stage before."""
    out = []
    for method in plan["methods"]:
        rows = [(s, metrics.main(Key.of(s))) for s in plan["stages"] if s["method"] == method and s["split"] == "train"]
        value = {stage: next((v for s, v in rows if s["stage"] == stage and s["cycle"] in (None, 0)), None) for stage in ("seed", "pseudo")}
        first = next((v for s, v in rows if s["stage"] == "scores" and s["round"] == 1), None)
        fused = next((v for s, v in rows if s["stage"] == "fused"), None)
        if first is not None and fused is not None and fused < first - 0.001:
            out.append(("note", f"{method}: fused scores ({percent(fused)}) are below round 1's ({percent(first)}): later rounds add wrong regions"))
        if value["seed"] is not None and value["pseudo"] is not None and value["pseudo"] < value["seed"]:
            out.append(("note", f"{method}: refining lowered mIoU from {percent(value['seed'])} to {percent(value['pseudo'])}"))
        for s, v in rows:
            if s["stage"] == "prediction" and v is not None and value["pseudo"] is not None and v < value["pseudo"]:
                out.append(("note", f"{name_of(s)}: {percent(v)}, below the pseudo masks of cycle 0 ({percent(value['pseudo'])})"))
    return out
