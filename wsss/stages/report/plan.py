"""The plan of a configuration: every artefact that the report looks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wsss.settings.stage_settings import PlanSettings
from wsss.workflow.graph import Graph
from wsss.workflow.instance_graph import InstanceGraph
from wsss.workflow.rows import InstanceFiles, RunPlan


def plan_of(settings: PlanSettings) -> RunPlan:
    """Plan the report of a configuration.

    Args:
        settings: The configuration and the rounds that were run.

    Raises:
        ValueError: If `settings` lacks the rounds of a method.
    """
    missing = [m for m in settings.config.methods if m not in settings.rounds]
    if missing:
        raise ValueError(
            f"write_report: settings.rounds: found {settings.rounds}, "
            f"expected a number of rounds for {', '.join(missing)}; give --settings as the workflow does"
        )
    graph = Graph(settings.config)
    branch = InstanceGraph(graph)
    instances = [
        InstanceFiles(
            method=method,
            folder=str(Path(product).parent / "images"),
            files=branch.results(method),
            proposals=branch.proposal_kind(method),
        )
        for method, product in zip(branch.methods, branch.products(), strict=True)
    ]
    return replace(graph.plan(settings.rounds), instances=instances)


def followed_method(plan: RunPlan) -> str:
    """The method that the page follows: the last that has predictions, else the last."""
    segmented = [m for m in plan.methods if plan.find(method=m, stage="prediction")]
    return (segmented or plan.methods)[-1]
