"""Instances on the page."""

from __future__ import annotations

import numpy as np
import pytest

from tests.report.sample_run import make_run
from tests.report.test_write_report import Page, write
from wsss.artefacts import METRIC_COLUMNS, ImageIndex, write_csv
from wsss.config import load
from wsss.graph import Graph
from wsss.imaging import save_mask
from wsss.report.instances import instance_table, instance_trails
from wsss.report.write_report import plan_of
from wsss.stage_settings import PlanSettings


@pytest.fixture
def run(tmp_path):
    """A run with instances of two methods: prm's pictures, and figures of both."""
    run = make_run(tmp_path)
    folders = {m: tmp_path / m / "instances" / "pictures" for m in ("cam", "erasing")}
    run.content["instances"] = [{"method": m, "folder": str(f), "proposals": "watershed"} for m, f in folders.items()]
    for k, (method, folder) in enumerate(folders.items()):
        folder.mkdir(parents=True)
        row = {"run": "sample", "method": method, "stage": "instances", "split": "train", "seed": 0}
        for t in (0.25, 0.5, 0.75):
            run.rows.append(dict.fromkeys(METRIC_COLUMNS, "") | row | {"metric": "map_r", "threshold": t, "value": 0.5 + 0.1 * k - 0.2 * t})
        run.rows.append(dict.fromkeys(METRIC_COLUMNS, "") | row | {"metric": "abo", "value": 0.4})
    for image_id in ("img0", "img1"):
        numbers = np.zeros_like(run.truths[image_id])
        numbers[:20, :20], numbers[25:40, 25:40] = 1, 2
        save_mask(folders["cam"] / f"{image_id}.png", numbers)
    write_csv(run.metrics, METRIC_COLUMNS, run.rows)
    return run


def test_the_table_has_a_row_a_method_and_marks_the_best(run):
    from wsss.report.gather import read_metrics

    table = instance_table(run.content, read_metrics(run.metrics, class_names=run.names))
    assert [(method, [c.text for c in cells]) for method, cells in table.rows] == [
        ("cam", ["45.0", "40.0", "35.0", "40.0", "–", "–"]),
        ("erasing", ["55.0", "50.0", "45.0", "40.0", "–", "–"]),
    ]
    assert [[c.best for c in cells] for _, cells in table.rows] == [[False] * 6, [True] * 3 + [False] * 3]


def test_the_ceiling_of_true_proposals_is_not_the_best(run):
    from wsss.report.gather import read_metrics

    run.content["instances"][1]["proposals"] = "truth"
    table = instance_table(run.content, read_metrics(run.metrics, class_names=run.names))
    assert [method for method, _ in table.rows] == ["cam", "erasing (true proposals)"]
    assert not any(c.best for _, cells in table.rows for c in cells)  # one row is left to compare
    run.content["instances"].append(run.content["instances"][1] | {"proposals": ""})
    table = instance_table(run.content, read_metrics(run.metrics, class_names=run.names))
    assert [[c.best for c in cells[:3]] for _, cells in table.rows] == [[False] * 3, [False] * 3, [True] * 3]


def test_pictures_are_those_that_are_there(run):
    trails = instance_trails(run.content, index=ImageIndex(run.index), image_ids=["img2", "img1", "img0"])
    assert [(t.image_id, [f.caption for f in t.masks]) for t in trails] == [("img1", ["cam"]), ("img0", ["cam"])]
    picture = trails[0].masks[0].picture
    assert not np.array_equal(picture[5, 5], picture[30, 30])  # an instance has its own colour
    assert trails[0].truth is None  # the sample has no true instances


def test_the_page_shows_them(run):
    text = write(run)
    page = Page(text)
    assert not page.faults
    assert 'href="#instances"' in text
    assert ["erasing", "55.0", "50.0", "45.0", "40.0", "–", "–"] in [row for table in page.tables for row in table]
    assert "instances, a colour each" in page.text
    assert "Mask proposals by hierarchical watershed" in page.text


def test_a_run_without_instances_has_no_such_part(tmp_path):
    text = write(make_run(tmp_path))
    assert 'id="instances"' not in text
    assert "#instances" not in text


def test_the_plan_says_where_the_pictures_are():
    config = load({"run": "x", "methods": ["prm"], "segment": {"methods": []}, "instances": {"methods": ["prm"]}})
    plan = plan_of(PlanSettings(config=config, rounds={"prm": Graph(config).max_rounds("prm")}))
    assert plan["instances"] == [{"method": "prm", "folder": "results/x/prm/instances/pictures", "proposals": "watershed"}]


def test_the_plan_names_the_proposals_of_each_method():
    recipes = {"best": {"kind": "prm", "instances": {"proposals": {"kind": "truth"}}}, "parts": {"kind": "cam", "instances": {"route": "components"}}}
    methods = ["prm", *recipes]
    config = load({"run": "x", "methods": methods, "recipes": recipes, "segment": {"methods": []}, "instances": {"methods": methods}})
    plan = plan_of(PlanSettings(config=config, rounds=dict.fromkeys(methods, 1)))
    assert [e["proposals"] for e in plan["instances"]] == ["watershed", "truth", ""]
