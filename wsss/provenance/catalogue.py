"""Every product of a configuration, with the stage that makes it and the settings and code that it is made with (no torch).

The rule files say the same to Snakemake; `tests/provenance/test_catalogue.py` compares the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wsss.files.json_files import StopFigures, read_checked
from wsss.provenance.records import stage_code
from wsss.settings.kinds import kind_modules
from wsss.settings.reading import relevant
from wsss.settings.sections import Config, Section
from wsss.settings.stage_settings import IndexSettings, PlanSettings, SaliencySettings
from wsss.workflow.graph import Graph
from wsss.workflow.instance_graph import InstanceGraph
from wsss.workflow.rounds import rounds_until_stop
from wsss.workflow.stages import STAGES

SHARD = r"(?P<shard>(train|val)-\d+)"
PLACES = {
    "index_images": r"dataset/index\.csv",
    "estimate_saliency": rf"saliency/(?P<cue>[^/]+)/{SHARD}\.h5",
    "train_classifier": r"(?P<method>[^/]+)/seeds/round-(?P<round>\d+)/classifier\.pt",
    "extract_scores": rf"(?P<method>[^/]+)/seeds/round-(?P<round>\d+)/scores/{SHARD}\.h5",
    "claim_regions": rf"(?P<method>[^/]+)/seeds/round-(?P<round>\d+)/regions/{SHARD}\.h5",
    "measure_round": r"(?P<method>[^/]+)/seeds/round-(?P<round>\d+)/metrics\.json",
    "fuse_regions": rf"(?P<method>[^/]+)/seeds/fused/{SHARD}\.h5",
    "make_seeds": rf"(?P<method>[^/]+)/pseudo/seed/{SHARD}\.h5",
    "refine_masks": rf"(?P<method>[^/]+)/pseudo/(?P<variant>[^/]+)/cycle-(?P<cycle>\d+)/{SHARD}\.h5",
    "train_segmenter": r"(?P<method>[^/]+)/segment/(?P<variant>[^/]+)/cycle-(?P<cycle>\d+)/segmenter\.pt",
    "predict_masks": rf"(?P<method>[^/]+)/segment/(?P<variant>[^/]+)/cycle-(?P<cycle>\d+)/predictions/{SHARD}\.h5",
    "export_masks": r"(?P<method>[^/]+)/masks/(?P<split>train|val)\.csv",
    "propose_masks": rf"proposals/(?P<kind>[^/]+)/{SHARD}\.json",
    "respond_peaks": rf"(?P<method>[^/]+)/instances/responses/{SHARD}\.h5",
    "retrieve_instances": rf"(?P<method>[^/]+)/instances/{SHARD}\.json",
    "export_instances": r"(?P<method>[^/]+)/instances/instances\.json",
    "measure_scores": r"metrics/(?P<method>[^/]+)/(?P<name>scores-round-\d+|fused)\.csv",
    "measure_masks": r"metrics/(?P<method>[^/]+)/(?P<name>seed|pseudo-.+|prediction-.+)\.csv",
    "measure_instances": r"metrics/(?P<method>[^/]+)/(?P<name>instances)\.csv",
    "collect_metrics": r"metrics\.csv",
    "write_report": r"report/index\.html",
}
"""Where each stage's output lies in a run's folder: the path grammar of the Snakefile."""
WITH_COMPUTE = ("train_classifier", "extract_scores", "train_segmenter", "predict_masks", "respond_peaks")
"""Stages that are told threads and precision."""


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
        rounds: Rounds used, by method (`rounds_used`).

    Returns:
        Path relative to the run's folder to what is made there, in the order data flows.
    """
    graph = Graph(config)
    given = _Given(graph, rounds=rounds)
    found = {}
    for path in _outputs(graph, rounds):
        inside = str(Path(path).relative_to(graph.base))
        stage, names = place(inside)
        settings = given.settings(stage, names)
        kind = str(settings.get("settings", {}).get("kind", ""))
        modules = kind_modules(settings.get("settings", {}))
        found[inside] = Product(stage=stage, settings=settings, code=_code(stage, kind, modules))
    return found


def place(inside: str) -> tuple[str, dict[str, Any]]:
    """The stage whose output lies at a path of a run's folder, and what its wildcards are.

    Raises:
        ValueError: If no stage's output lies there.
    """
    for stage, pattern in PLACES.items():
        if match := re.fullmatch(pattern, inside):
            return stage, {k: int(v) if k in ("round", "cycle") else v for k, v in match.groupdict().items()}
    raise ValueError(f"{inside}: no stage's output lies there")


def rounds_used(config: Config, *, run: Path) -> dict[str, int]:
    """Rounds by method: fixed, or as many as the stop rule leaves of those that the run has measured."""
    graph = Graph(config)
    out = {}
    for method in config.methods:
        most = graph.max_rounds(method)
        out[method] = _stopped(graph, method, run=run) if graph.is_auto(method) else most
    return out


def _stopped(graph: Graph, method: str, *, run: Path) -> int:
    def figures(r: int) -> dict[str, Any] | None:
        path = run / Path(graph.round_metrics(method, r)).relative_to(graph.base)
        return read_checked(path, StopFigures) if path.is_file() else None

    return rounds_until_stop(graph.max_rounds(method), graph.settings(method).seeds.rounds.stop, figures=figures)


@cache
def _code(stage: str, kind: str, modules: tuple[str, ...]) -> str:
    return stage_code(stage, STAGES[stage], kind=kind, modules=modules)


def _outputs(graph: Graph, rounds: Mapping[str, int]) -> list[str]:
    """Every output, once."""
    methods, branch = graph.config.methods, InstanceGraph(graph)
    measured, records = graph.measured(rounds), graph.records(rounds)
    out = [graph.dataset("index.csv"), *graph.all_saliency()]
    for method in methods:
        for r in range(1, rounds[method] + 1):
            out += [
                graph.classifier(method, r),
                *graph.scores(method, r),
                *graph.regions(method, r),
                graph.round_metrics(method, r),
            ]
        out += [*graph.fused(method), *graph.seed_masks(method)]
    out += [f"{Path(r.file).parent}/segmenter.pt" for r in records if r.kind == "segmenter"]
    out += [f for row in measured for f in row.files]
    lists = {(m, s): graph.final_masks(m, s) for m in methods for s in ("train", "val")}
    out += [f for files in lists.values() for f in files] + [
        f"{graph.base}/{m}/masks/{s}.csv" for (m, s), files in lists.items() if files
    ]
    out += [
        f for m in branch.methods for f in (*branch.proposals(m), *branch.responses(m), *branch.results(m))
    ] + branch.products()
    out += [f"{graph.base}/metrics/{row.method}/{row.name}.csv" for row in measured] + branch.fragments()
    return list(dict.fromkeys([*out, f"{graph.base}/metrics.csv", f"{graph.base}/report/index.html"]))


class _Given:
    """What the rules give to each stage, by parameter, as plain values."""

    def __init__(self, graph: Graph, *, rounds: Mapping[str, int]) -> None:
        self.graph, self.branch = graph, InstanceGraph(graph)
        self.rows = {(row.method, row.name): row for row in graph.measured(rounds)}
        self.plan = PlanSettings.model_construct(config=relevant(graph.config), rounds=dict(rounds)).model_dump_json(
            warnings=False
        )

    def settings(self, stage: str, names: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if (section := self._section(stage, names)) is not None:
            out["settings"] = section.model_dump(mode="json")
        if stage in WITH_COMPUTE:
            out["compute"] = self.graph.config.compute.model_dump(mode="json", include={"precision", "threads"})
        if stage in ("measure_scores", "measure_masks"):
            row, config = self.rows[names["method"], names["name"]], self.graph.config
            out["row"] = row.row_keys(run=config.run, seed=config.seed)
        if stage == "measure_instances":
            out["row"] = self.branch.row_keys(names["method"])
        return out

    def _section(self, stage: str, names: Mapping[str, Any]) -> Section | None:
        graph, method = self.graph, str(names.get("method", ""))
        if stage == "index_images":
            return IndexSettings.model_validate_json(json.dumps(relevant(graph.stage(stage))))
        if stage == "estimate_saliency":
            return SaliencySettings.model_validate_json(json.dumps(relevant(graph.stage(stage, cue=names["cue"]))))
        if stage in ("collect_metrics", "write_report"):
            return PlanSettings.model_validate_json(self.plan)
        if stage == "propose_masks":
            return self.branch.stage(stage, kind=names["kind"])
        if stage in ("respond_peaks", "retrieve_instances"):
            return self.branch.stage(stage, method=method)
        if stage in ("measure_round", "export_masks", "export_instances", "measure_masks", "measure_instances"):
            return None
        known = {
            k: v
            for k, v in names.items()
            if k in ("method", "round", "cycle") or (k == "variant" and stage != "refine_masks")
        }
        return graph.stage(stage, **({} if stage == "measure_scores" else known))
