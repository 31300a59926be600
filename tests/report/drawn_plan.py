"""A plan of two methods, two variants and the reference, with numbers by hand: for the tests of tables and checks."""

from __future__ import annotations

from dataclasses import replace

from tests.report.sample_run import metrics_of
from wsss.stages.report.metrics import Metrics
from wsss.workflow.rows import MeasuredArtefact, RunPlan


def artefact(method, stage, *, round=None, variant="", cycle=None, split="train") -> MeasuredArtefact:
    """An artefact whose name and file are its key."""
    found = MeasuredArtefact(
        method=method, stage=stage, name="", files=[], round=round, variant=variant, cycle=cycle, split=split
    )
    return replace(found, name=str(found.key), files=[str(found.key)])


def seeds(method, *, rounds=1) -> list[MeasuredArtefact]:
    """Everything up to the pseudo masks of cycle 0."""
    scores = [artefact(method, "scores", round=r) for r in range(1, rounds + 1)]
    last = artefact(method, "pseudo", variant="plain", cycle=0)
    return [*scores, artefact(method, "fused"), artefact(method, "seed"), last]


def predictions(method, variant, cycle) -> list[MeasuredArtefact]:
    """A segmenter's predictions on both splits."""
    return [artefact(method, "prediction", variant=variant, cycle=cycle, split=s) for s in ("train", "val")]


ARTEFACTS = [
    *seeds("cam"),
    *seeds("erasing", rounds=2),
    *predictions("erasing", "plain", 0),
    *predictions("erasing", "psl", 0),
    artefact("erasing", "pseudo", variant="psl", cycle=1),
    *predictions("erasing", "psl", 1),
    *predictions("full", "plain", 0),
]
PLAN = RunPlan(
    run="drawn",
    config={},
    methods=["cam", "erasing"],
    kinds={"cam": "cam", "erasing": "erasing"},
    cues={"cam": "barrier", "erasing": "barrier"},
    saliency={},
    artefacts=ARTEFACTS,
    records=[],
    benchmarks="",
)
MIOU = (
    *(0.40, 0.40, 0.35, 0.42),  # cam: scores, fused, seed, pseudo
    *(0.40, 0.30, 0.45, 0.41, 0.48),  # erasing: scores of two rounds, fused, seed, pseudo
    *(0.50, 0.46, 0.53, 0.49),  # erasing, cycle 0: plain on train and val, psl on train and val
    *(0.55, 0.57, 0.52),  # erasing, psl, cycle 1: pseudo, train, val
    *(0.80, 0.65),  # full: train, val
)


def numbers(figures: dict[int, float]) -> Metrics:
    """The main figures of artefacts, by their place in ARTEFACTS."""
    rows = []
    for k, value in figures.items():
        a = ARTEFACTS[k]
        rows.append((a.key, "miou_best", "", 0.2, value) if a.has_maps else (a.key, "miou", "", None, value))
    return metrics_of(*rows)


ALL = numbers(dict(enumerate(MIOU)))
