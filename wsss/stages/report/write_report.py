"""Stage: the report, one self-contained page with the numbers and images of every stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from wsss.files.imaging import VOC_COLOURS, save_image
from wsss.files.index import ImageIndex
from wsss.files.text_files import write_text
from wsss.runtime.console import log
from wsss.settings.stage_settings import PlanSettings
from wsss.stages.report import curves, faults, instances, tables
from wsss.stages.report.cells import percent
from wsss.stages.report.contact import contact_sheet, sheet_trails
from wsss.stages.report.data_facts import data_facts
from wsss.stages.report.gallery import Gallery
from wsss.stages.report.jobs import ReadRecord, log_warnings, read_benchmarks, read_records
from wsss.stages.report.made import read_made, versions
from wsss.stages.report.metrics import Metrics, read_metrics
from wsss.stages.report.names import name_of
from wsss.stages.report.plan import plan_of
from wsss.stages.report.settings_table import list_settings
from wsss.stages.report.supervision import supervision
from wsss.stages.report.trail import Trail
from wsss.workflow.rows import FULL_SUPERVISION, RunPlan

HERO_IMAGES = 6
"""Pairs of photograph and mask at the top of the page."""
LISTED_WARNINGS = 20
"""Warnings of the logs that the page lists."""
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
    images = settings.config.report.gallery
    values = context(plan_of(settings), index=ImageIndex(index), metrics=read_metrics(metrics), images=images)
    write_sheet(values["trails"], class_names=values["class_names"], output=output.parent / "gallery.jpg")
    page = page_of(values)
    write_text(output, page)
    log.info("%s: %.1f MB", output, len(page.encode()) / 1e6)


def write_sheet(trails: Sequence[Trail], *, class_names: Sequence[str], output: Path) -> None:
    """Write the contact sheet of the gallery as a JPEG; nothing without images."""
    sheet = contact_sheet(sheet_trails(trails), class_names=class_names)
    if sheet is not None:
        save_image(output, Image.fromarray(sheet), form="JPEG", quality=SHEET_QUALITY, subsampling=0, optimize=True)


# ---------------------------------------------------------------- what the page shows


def context(plan: RunPlan, *, index: ImageIndex, metrics: Metrics, images: int) -> dict[str, Any]:
    """Everything that the template shows.

    Args:
        plan: Where the artefacts are.
        index: The data set.
        metrics: The numbers.
        images: Training images that the gallery follows.
    """
    facts, records, made = data_facts(index), read_records(plan), read_made(index.folder.parent)
    return {
        "plan": plan,
        "class_names": index.class_names,
        "colours": [tuple(int(v) for v in colour) for colour in VOC_COLOURS[: len(index.class_names)]],
        "facts": facts,
        "has_truth": facts.has_truth,
        "supervision": supervision(plan, facts),
        "settings": list_settings(plan.config),
        "made": made,
        **_machine(plan, records),
        **_figures(plan, metrics, records),
        **_images(plan, index, metrics, images=images),
        "warnings": [
            *((level, f"provenance: {text}") for level, text in made.faults),
            *faults.warnings(plan, metrics, class_names=index.class_names, has_truth=facts.has_truth),
        ],
        **_logged(plan),
    }


def _machine(plan: RunPlan, records: Sequence[ReadRecord]) -> dict[str, Any]:
    """What computed, how long and with how much memory."""
    times = read_benchmarks(Path(plan.benchmarks))
    return {
        "versions": versions(),
        "devices": sorted({str(r.figures["device"]) for r in records if r.figures.get("device")}),
        "times": times,
        "total_seconds": sum(t.seconds for t in times),
        "peak_mb": max((t.peak_mb for t in times), default=0.0),
    }


def _figures(plan: RunPlan, metrics: Metrics, records: Sequence[ReadRecord]) -> dict[str, Any]:
    """Tables and curves."""
    details = [tables.detail_table(plan, metrics, maps=maps) for maps in (True, False)]
    return {
        "headline": tables.headline(plan, metrics),
        "table": tables.stage_table(plan, metrics),
        "segmenters": tables.segmenter_table(plan, metrics),
        "full_supervision": FULL_SUPERVISION,
        "details": [table for table in details if table.rows],
        "rounds": [r for r in records if r.record.kind == "round"],
        "charts": curves.charts(plan, metrics, records),
    }


def _images(plan: RunPlan, index: ImageIndex, metrics: Metrics, *, images: int) -> dict[str, Any]:
    """The gallery, and what is about its method or images."""
    gallery = Gallery(index=index, plan=plan)
    trails = gallery.trails(images)
    image_ids = [t.image_id for t in trails]
    return {
        "method": gallery.method,
        "class_bars": curves.class_bars(plan, metrics, class_names=index.class_names, method=gallery.method),
        "hero": gallery.hero(HERO_IMAGES),
        "hero_artefact": gallery.hero_artefact(),
        "trails": trails,
        "ranked": gallery.ranked_artefact() if trails and trails[0].rank else None,
        "val_trails": gallery.val_trails(max(3, len(trails) // 3)),
        "instances": instances.instance_table(plan, metrics),
        "instance_trails": instances.instance_trails(plan, index=index, image_ids=image_ids),
    }


def _logged(plan: RunPlan) -> dict[str, Any]:
    """Warnings in the logs."""
    logged = log_warnings(Path(plan.benchmarks).parent / "logs", methods=[*plan.methods, FULL_SUPERVISION])
    return {
        "logged": logged[:LISTED_WARNINGS],
        "logged_more": max(0, len(logged) - LISTED_WARNINGS),
    }


# ---------------------------------------------------------------- the page


def page_of(values: Mapping[str, Any]) -> str:
    """The page of its context; every text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": seconds, "percent": percent, "artefact_name": name_of}
    return environment.get_template("page.html.j2").render(values)


def seconds(value: float) -> str:
    """A duration in words, e.g. 4 min 5 s."""
    whole = round(value)
    if whole < 60:
        return f"{value:.1f} s" if value < 10 else f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
