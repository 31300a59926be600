"""Every product of a configuration, with the stage that makes it and the settings and code that it is made with.

`wsss verify` compares these with the records, `wsss plan` counts them. Both follow from the graph and the stage table
(no torch).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wsss.files.json_files import StopFigures, read_checked
from wsss.settings.reading import only_read, run_settings
from wsss.settings.sections import Config
from wsss.settings.stage_settings import PlanSettings
from wsss.workflow import run_plan
from wsss.workflow.digests import stage_code
from wsss.workflow.graph import Graph
from wsss.workflow.instance_graph import InstanceGraph
from wsss.workflow.jobs import Job
from wsss.workflow.stages import STAGES, find_job


@dataclass(frozen=True, kw_only=True)
class Product:
    """A stage's output: `settings` by parameter as plain values, and the digest of the code."""

    stage: str
    settings: dict[str, Any]
    code: str


def catalogue(config: Config, *, rounds: Mapping[str, int]) -> dict[str, Product]:
    """Every output of a run.

    Args:
        config: A checked configuration.
        rounds: Rounds used, by method (`rounds_of_run`).

    Returns:
        Path in the run's folder to what is made there, in the order data flows.
    """
    graph, found = Graph(config), {}
    rows = {(row.method, row.name): row for row in run_plan.measured(graph, rounds)}
    for inside, stage, job in jobs(graph, rounds):
        given: dict[str, Any] = {}
        section = graph.stage(stage, job) if STAGES[stage].view else None
        if section is not None:
            given["settings"] = section.model_dump(mode="json")
        elif stage in ("collect_metrics", "write_report"):
            given["settings"] = read_plan(config, rounds).model_dump(mode="json")
        if STAGES[stage].computes:
            given["compute"] = only_read(config.compute, stage=stage)
        if STAGES[stage].row:
            row = rows.get((job.method, job.name))
            keys = row.row_keys(run=config.run, seed=config.seed) if row else None
            given["row"] = keys or InstanceGraph(graph).row_keys(job.method)
        found[inside] = Product(stage=stage, settings=given, code=stage_code(stage, section))
    return found


def read_plan(config: Config, rounds: Mapping[str, int]) -> PlanSettings:
    """The whole configuration and the rounds, as collect_metrics and write_report read them."""
    plan: Any = {"config": run_settings(config), "rounds": dict(rounds)}
    text = PlanSettings.model_construct(**plan).model_dump_json(warnings=False)
    return PlanSettings.model_validate_json(text)


def jobs(graph: Graph, rounds: Mapping[str, int]) -> list[tuple[str, str, Job]]:
    """Every job of a run: (path of its output in the run's folder, stage, wildcards)."""
    inside = dict.fromkeys(str(Path(path).relative_to(graph.base)) for path in _outputs(graph, rounds))
    return [(path, *find_job(path)) for path in inside]


def rounds_of_run(config: Config, *, run: Path) -> dict[str, int]:
    """Rounds by method: fixed, or as many as the stop rule leaves of those that the run has measured."""
    graph = Graph(config)

    def figures(method: str, r: int) -> dict[str, Any] | None:
        path = run / Path(graph.round_metrics(method, r)).relative_to(graph.base)
        return read_checked(path, StopFigures) if path.is_file() else None

    return {m: graph.rounds_used(m, figures=partial(figures, m)) for m in config.methods}


def _outputs(graph: Graph, rounds: Mapping[str, int]) -> list[str]:
    """Every output; some more than once."""
    methods, branch = graph.config.methods, InstanceGraph(graph)
    measured, records = run_plan.measured(graph, rounds), run_plan.records(graph, rounds)
    out = [graph.dataset("index.csv"), *graph.all_saliency()]
    for method in methods:
        for r in range(1, rounds[method] + 1):
            out += [graph.classifier(method, r), *graph.scores(method, r), *graph.regions(method, r)]
            out.append(graph.round_metrics(method, r))
        out += [*graph.fused(method), *graph.seed_masks(method)]
    out += [graph.segmenter(r.method, r.variant, r.cycle or 0) for r in records if r.kind == "segmenter"]
    out += [f for row in measured for f in row.files]
    for method in methods:
        for split in ("train", "val"):
            if masks := graph.final_masks(method, split):
                out += [*masks, graph.path("export_masks", method=method, split=split)]
    out += [f for m in branch.methods for f in (*branch.proposals(m), *branch.responses(m), *branch.results(m))]
    out += branch.products()
    out += [f"{graph.base}/metrics/{row.method}/{row.name}.csv" for row in measured] + branch.fragments()
    return [*out, graph.path("collect_metrics"), graph.path("write_report")]
