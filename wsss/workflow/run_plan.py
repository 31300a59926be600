"""What of a run is measured and recorded, and the plan that the report draws (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from wsss.settings.reading import run_settings
from wsss.workflow.graph import Graph
from wsss.workflow.rows import FULL_SUPERVISION, MeasuredArtefact, RunPlan, TrainingRecord


def measured(graph: Graph, rounds: Mapping[str, int]) -> list[MeasuredArtefact]:
    """Every artefact that is measured, in the order data flows, method by method.

    Args:
        graph: The run.
        rounds: Rounds used, by method.
    """
    rows = [row for m in graph.config.methods for row in _seed_rows(graph, m, rounds[m])]
    for method in graph.config.segment.methods:
        rows += [row for variant in graph.config.segment.variants for row in _segment_rows(graph, method, variant)]
        rows += _exported_rows(graph, method)
    if graph.config.evaluate.full_supervision:
        rows += _segment_rows(graph, FULL_SUPERVISION, "plain")
    return rows


def _seed_rows(graph: Graph, method: str, rounds: int) -> list[MeasuredArtefact]:
    """Scores of every round, what is made of them, and the pseudo masks of cycle 0."""
    scores = {r: graph.scores(method, r) for r in range(1, rounds + 1)}
    return [
        *(
            MeasuredArtefact(method=method, stage="scores", name=f"scores-round-{r}", files=files, round=r)
            for r, files in scores.items()
        ),
        MeasuredArtefact(method=method, stage="fused", name="fused", files=graph.fused(method)),
        MeasuredArtefact(method=method, stage="seed", name="seed", files=graph.seed_masks(method)),
        _pseudo_row(graph, method, graph.pseudo_source("plain", 0), 0),
    ]


def _segment_rows(graph: Graph, method: str, variant: str) -> list[MeasuredArtefact]:
    """Every cycle of a variant: the masks that train it (cycle 0's are the seeds' rows), and its predictions."""
    rows = []
    for cycle in range(graph.cycles(method, variant)):
        if cycle > 0:
            rows.append(_pseudo_row(graph, method, variant, cycle))
        rows += [_prediction_row(graph, method, variant, cycle, split) for split in ("train", "val")]
    return rows


def _exported_rows(graph: Graph, method: str) -> list[MeasuredArtefact]:
    """The training masks that users take away: those of the cycle after the last."""
    if not graph.config.segment.variants:
        return []
    variant = graph.config.segment.variants[-1]
    row = _pseudo_row(graph, method, variant, graph.cycles(method, variant))
    return [replace(row, files=graph.final_masks(method, "train"), exported=True)]


def _pseudo_row(graph: Graph, method: str, variant: str, cycle: int) -> MeasuredArtefact:
    name, files = f"pseudo-{variant}-cycle-{cycle}", graph.pseudo(method, variant, cycle)
    return MeasuredArtefact(method=method, stage="pseudo", name=name, files=files, variant=variant, cycle=cycle)


def _prediction_row(graph: Graph, method: str, variant: str, cycle: int, split: str) -> MeasuredArtefact:
    return MeasuredArtefact(
        method=method,
        stage="prediction",
        name=f"prediction-{variant}-cycle-{cycle}-{split}",
        files=graph.predictions(method, variant, cycle, split),
        variant=variant,
        cycle=cycle,
        split=split,
    )


def _region_rows(graph: Graph, method: str, rounds: int) -> list[MeasuredArtefact]:
    """Regions of every round: shown by the report, not measured."""
    return [
        MeasuredArtefact(method=method, stage="regions", name="", files=graph.regions(method, r), round=r)
        for r in range(1, rounds + 1)
    ]


def records(graph: Graph, rounds: Mapping[str, int]) -> list[TrainingRecord]:
    """Records of trainings and rounds, for curves and timing rows.

    Args:
        graph: The run.
        rounds: Rounds used, by method.
    """
    out: list[TrainingRecord] = []
    for method in graph.config.methods:
        for r in range(1, rounds[method] + 1):
            training, figures = graph.training_record(method, r), graph.round_metrics(method, r)
            out.append(TrainingRecord(method=method, kind="classifier", file=training, round=r))
            out.append(TrainingRecord(method=method, kind="round", file=figures, round=r))
    pairs = [(m, v) for m in graph.config.segment.methods for v in graph.config.segment.variants]
    pairs += [(FULL_SUPERVISION, "plain")] * graph.config.evaluate.full_supervision
    for m, v in pairs:
        for cycle in range(graph.cycles(m, v)):
            file = graph.segmenter_record(m, v, cycle)
            out.append(TrainingRecord(method=m, kind="segmenter", file=file, variant=v, cycle=cycle))
    return out


def run_plan(graph: Graph, rounds: Mapping[str, int]) -> RunPlan:
    """Everything that the report must find, without the instances.

    Args:
        graph: The run.
        rounds: Rounds used, by method.
    """
    methods = graph.config.methods
    regions = [row for m in methods for row in _region_rows(graph, m, rounds[m])]
    return RunPlan(
        run=graph.config.run,
        config=run_settings(graph.config),
        methods=methods,
        kinds={m: graph.kind(m) for m in methods},
        cues={m: graph.settings(m).saliency.kind for m in methods},
        saliency={m: graph.saliency(m) for m in methods},
        artefacts=[*measured(graph, rounds), *regions],
        records=records(graph, rounds),
        benchmarks=f"{graph.base}/benchmarks",
    )
