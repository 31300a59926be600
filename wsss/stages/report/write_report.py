"""Stage: the report, one self-contained page with the numbers and images of every stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from wsss.files.imaging import VOC_COLOURS, save_image
from wsss.files.index import ImageIndex
from wsss.files.text_files import write_text
from wsss.runtime.console import log
from wsss.settings.stage_settings import PlanSettings
from wsss.stages.report import curves, faults, gather, instances, made, tables
from wsss.stages.report.contact import contact_sheet, sheet_trails
from wsss.stages.report.gallery import Gallery
from wsss.workflow.graph import Graph
from wsss.workflow.instance_graph import InstanceGraph

HERO_IMAGES = 6
LISTED_WARNINGS = 20
SHEET_QUALITY = 90
"""JPEG quality of the contact sheet."""


def write_report(*, index: Path, metrics: Path, settings: PlanSettings, output: Path) -> None:
    """Write report/index.html: what went in, the table method × stage, curves, and images followed through the stages.

    The page needs no other file. Stages and figures that are absent leave a dash; without truth masks the page says so.
    A contact sheet of a few images, gallery.jpg, is left beside it.

    Args:
        index: dataset/index.csv.
        metrics: metrics.csv.
        settings: The whole configuration and the rounds that were run; says where every file is.
        output: The page.

    Raises:
        ArtefactError: If a file that exists is damaged.
        ValueError: If `settings` lacks the rounds of a method.
    """
    values = context(plan=plan_of(settings), index=ImageIndex(index), metrics=metrics)
    write_sheet(values, output=output.parent / "gallery.jpg")
    page = page_of(values)
    write_text(output, page)
    log.info("%s: %.1f MB", output, len(page.encode()) / 1e6)


def render(plan: Mapping[str, Any], *, index: Path, metrics: Path) -> str:
    """The page of a plan (`plan_of`, or one made by hand)."""
    return page_of(context(plan=plan, index=ImageIndex(index), metrics=metrics))


def write_sheet(values: Mapping[str, Any], *, output: Path) -> None:
    """The contact sheet of the page's context as a JPEG; nothing is written if there are no images."""
    sheet = contact_sheet(sheet_trails(values["trails"]), class_names=values["class_names"])
    if sheet is not None:
        save_image(output, Image.fromarray(sheet), form="JPEG", quality=SHEET_QUALITY, subsampling=0, optimize=True)


def plan_of(settings: PlanSettings) -> dict[str, Any]:
    """The plan of a configuration, with the regions of every round beside what is measured."""
    graph = Graph(settings.config)
    missing = [m for m in settings.config.methods if m not in settings.rounds]
    if missing:
        raise ValueError(
            f"write_report: settings.rounds: found {settings.rounds}, expected a number of rounds for {', '.join(missing)}; give --settings as the workflow does"
        )
    plan: dict[str, Any] = json.loads(
        json.dumps(graph.plan(settings.rounds), default=lambda model: model.model_dump(mode="json"))
    )
    for method in settings.config.methods:
        for r in range(1, settings.rounds[method] + 1):
            row = {
                "method": method,
                "stage": "regions",
                "round": r,
                "variant": "",
                "cycle": None,
                "split": "train",
                "files": graph.regions(method, r),
            }
            plan["stages"].append(row)
    branch = InstanceGraph(graph)
    plan["instances"] = [
        {
            "method": m,
            "folder": str(Path(f).parent / "images"),
            "files": branch.results(m),
            "proposals": branch.proposal_kind(m),
        }
        for m, f in zip(branch.methods, branch.products(), strict=True)
    ]
    return plan


def context(*, plan: Mapping[str, Any], index: ImageIndex, metrics: Path) -> dict[str, Any]:
    """Everything the template shows, as plain values and safe markup."""
    numbers = gather.read_metrics(metrics, class_names=index.class_names)
    facts = gather.data_facts(index)
    has_truth = any(s["measured"] for s in facts["splits"].values())
    records = gather.read_records(plan)
    benchmarks = Path(plan["benchmarks"])
    times = gather.read_benchmarks(benchmarks)
    gallery = Gallery(index=index, plan=plan)
    trails = gallery.trails(int(plan["report"]["gallery"]))
    logged = gather.log_warnings(benchmarks.parent / "logs", methods=[*plan["config"]["methods"], gather.FULL])
    made_by = made.read_made(index.folder.parent)
    proposals = {e["method"]: e["proposals"] for e in plan.get("instances", [])}
    return {
        "plan": plan, "facts": facts, "has_truth": has_truth, "class_names": index.class_names, "colours": [tuple(int(v) for v in c) for c in VOC_COLOURS[: len(index.class_names)]],
        "headline": tables.headline(plan, numbers), "supervision": gather.supervision(plan["config"], facts, cues=plan["cues"], proposals=proposals), "settings": gather.list_settings(plan["config"]),
        "versions": gather.versions(), "made": made_by, "devices": sorted({str(r["content"]["device"]) for r in records if r["content"].get("device")}), "times": times,
        "total_seconds": sum(t.seconds for t in times), "peak_mb": max((t.peak_mb for t in times), default=0.0),
        "table": tables.stage_table(plan, numbers), "segmenters": tables.segmenter_table(plan, numbers),
        "details": [detail for maps in (True, False) if (detail := tables.detail_table(plan, numbers, maps=maps)).rows],
        "rounds": round_rows(records), "charts": charts(plan, numbers, records), "class_bars": curves.class_bars(plan, numbers, class_names=index.class_names, method=gallery.method),
        "method": gallery.method, "hero": gallery.hero(HERO_IMAGES), "hero_stage": gallery.hero_stage(), "trails": trails,
        "val_trails": gallery.val_trails(max(3, len(trails) // 3)), "ranked": gallery.ranked_stage() if trails and trails[0].rank else None,
        "stage_name": tables.name_of, "instances": instances.instance_table(plan, numbers),
        "instance_trails": instances.instance_trails(plan, index=index, image_ids=[t.image_id for t in trails]),
        "warnings": [*((level, f"provenance: {text}") for level, text in made_by.faults), *faults.warnings(plan, numbers, class_names=index.class_names, has_truth=has_truth)],
        "logged": logged[:LISTED_WARNINGS], "logged_more": max(0, len(logged) - LISTED_WARNINGS),
    }  # fmt: skip


def charts(
    plan: Mapping[str, Any], metrics: gather.Metrics, records: list[dict[str, Any]]
) -> list[tuple[str, str, Any]]:
    """(heading, explanation, markup) of the charts that have something to show; the first is a wide one."""
    found = [
        (
            "From stage to stage",
            "mIoU on the training images; dashed: validation images.",
            curves.stage_chart(plan, metrics),
        ),
        (
            "Threshold",
            "mIoU of score maps against one constant background threshold, the same sweep for every method. Ring: best.",
            curves.threshold_chart(plan, metrics),
        ),
        (
            "Precision and recall",
            "The same sweep: mean precision and recall of the classes at each threshold. Ring: threshold of the best mIoU.",
            curves.precision_recall_chart(plan, metrics),
        ),
        (
            "Loss of the classifiers",
            "Mean over an epoch. Where rounds erase, later ones see less of the objects, so their loss stays higher; a loss below 0 is maximised on purpose, as in ESOL-style expansion.",
            curves.loss_chart(records, kind="classifier"),
        ),
        (
            "Loss of the segmenters",
            "Mean over an epoch, all terms together.",
            curves.loss_chart(records, kind="segmenter"),
        ),
    ]
    return [chart for chart in found if chart[2]]


def round_rows(records: list[dict[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """(method and round, metrics.json) of every round, shared ones once."""
    rounds = {r["file"]: r for r in records if r["kind"] == "round"}
    owners = {f: " = ".join(dict.fromkeys(r["method"] for r in records if r["file"] == f)) for f in rounds}
    return [(f"{owners[f]}, round {r['round']}", r["content"]) for f, r in rounds.items()]


def page_of(values: Mapping[str, Any]) -> str:
    """The page of its context; every text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": seconds, "percent": tables.percent}
    return environment.get_template("page.html.j2").render(values)


def seconds(value: float) -> str:
    """A duration in words, e.g. 4 min 5 s."""
    whole = round(value)
    if whole < 60:
        return f"{value:.1f} s" if value < 10 else f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
