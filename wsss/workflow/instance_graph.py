"""Where proposals, responses and instances are: `Graph` for the branch from peaks to instances (no torch)."""

from __future__ import annotations

import json
from typing import Any

from wsss.settings import sections
from wsss.workflow.graph import Graph
from wsss.workflow.rows import MeasuredArtefact


class InstanceGraph:
    """The instance artefacts of one configuration; training images only, whose labels are known."""

    def __init__(self, graph: Graph) -> None:
        """The branch of `graph`."""
        self.graph = graph
        self.methods = graph.config.instances.methods
        self.shards = graph.shards("train")

    def section(self, method: str) -> sections.InstancesSection:
        """The instances section with the method's recipe laid over it."""
        return self.graph.settings(method).instances

    def proposal_kind(self, method: str) -> str:
        """The kind of proposals that a method reads; "" where it reads none."""
        section = self.section(method)
        return section.proposals.kind if section.route == "proposals" else ""

    def proposals(self, method: str) -> list[str]:
        """Proposals of the kind that a method is set to; none where it does not read them."""
        kind = self.proposal_kind(method)
        return self.graph.paths("propose_masks", kind=kind) if kind else []

    def responses(self, method: str) -> list[str]:
        """Peaks and responses at their owner, the first method of equal ones; none of a method without peaks."""
        if not self.graph.facts(method).responds:
            return []
        owner = next(m for m in self.methods if self.graph.facts(m).responds and self._key(m) == self._key(method))
        return self.graph.paths("respond_peaks", method=owner)

    def masks(self, method: str) -> list[str]:
        """Masks whose components become instances."""
        return self.graph.final_masks(method, "train") if self.section(method).route == "components" else []

    def fused(self, method: str) -> list[str]:
        """Fused scores, which rank the components of a method without peaks."""
        return (
            self.graph.fused(method)
            if self.section(method).route == "components" and not self.graph.facts(method).responds
            else []
        )

    def saliency(self, method: str) -> list[str]:
        """Saliency maps, where they say what the background of the retrieval score is."""
        section = self.section(method)
        return (
            self.graph.saliency(method)
            if section.route == "proposals" and section.retrieval.background == "saliency"
            else []
        )

    def results(self, method: str) -> list[str]:
        """Instances of the training shards."""
        return self.graph.paths("retrieve_instances", method=method)

    def all_results(self) -> list[str]:
        """Instances of every method."""
        return [f for m in self.methods for f in self.results(m)]

    def classifier(self, method: str) -> str:
        """The network whose peaks they are: the last round's."""
        return self.graph.classifier(method, self.graph.max_rounds(method))

    def products(self) -> list[str]:
        """What users take away."""
        return [self.graph.path("export_instances", method=m) for m in self.methods]

    def fragments(self) -> list[str]:
        """Metric rows of the instances."""
        return [self.graph.path("measure_instances", method=m) for m in self.methods]

    def row_keys(self, method: str) -> dict[str, Any]:
        """The identifying columns of its rows in metrics.csv, as `RowKeys` has them."""
        config = self.graph.config
        row = MeasuredArtefact(method=method, stage="instances", name="instances", files=self.results(method))
        return row.row_keys(run=config.run, seed=config.seed)

    def _key(self, method: str) -> str:
        given = self.graph.stage("respond_peaks", method=method).model_dump(mode="json")
        return json.dumps([self.classifier(method), given])
