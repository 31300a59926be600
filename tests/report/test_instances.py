"""Instances on the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.sample_run import make_run, page_of_run
from tests.report.test_write_report import Page
from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_indexed_image, save_mask
from wsss.files.index import ImageIndex
from wsss.files.metrics import METRIC_COLUMNS
from wsss.files.text_files import write_csv, write_json
from wsss.settings.config import load
from wsss.settings.stage_settings import PlanSettings
from wsss.stages.report.instances import _best, _figure, instance_table, instance_trails
from wsss.stages.report.metrics import read_metrics
from wsss.stages.report.plan import plan_of
from wsss.workflow.graph import Graph
from wsss.workflow.rows import InstanceFiles


def instance(class_id: int, score: float) -> dict[str, Any]:
    return {"category_id": class_id, "score": score, "segmentation": {"size": [40, 40], "counts": "0"}}


@pytest.fixture
def run(tmp_path):
    """A run with figures of two methods' instances. Images and instances are there for cam's alone."""
    run = make_run(tmp_path)
    files = {
        m: InstanceFiles(
            method=m,
            folder=str(tmp_path / m / "instances" / "images"),
            files=[str(tmp_path / m / "instances" / "train-0.json")],
            proposals="watershed",
        )
        for m in ("cam", "erasing")
    }
    found = {"img0": [instance(1, 0.9), instance(1, 0.5)], "img1": [instance(2, 0.8), instance(1, 0.25)]}
    for k, (method, entry) in enumerate(files.items()):
        Path(entry.folder).mkdir(parents=True)
        write_json(Path(entry.files[0]), found if method == "cam" else {})
        row = dict.fromkeys(METRIC_COLUMNS, "") | {"run": "sample", "method": method, "stage": "instances"}
        row |= {"split": "train", "seed": 0}
        for t in (0.25, 0.5, 0.75):
            run.rows.append(row | {"metric": "map_r", "threshold": t, "value": 0.5 + 0.1 * k - 0.2 * t})
        run.rows.append(row | {"metric": "abo", "value": 0.4})
    for image_id in found:
        numbers = np.zeros_like(run.truths[image_id])
        numbers[:20, :20], numbers[25:40, 25:40] = 1, 2
        save_mask(Path(files["cam"].folder) / f"{image_id}.png", numbers)
    write_csv(run.metrics, METRIC_COLUMNS, run.rows)
    return replace(run, plan=replace(run.plan, instances=list(files.values())))


def test_the_table_has_a_row_a_method_and_marks_the_best(run):
    table = instance_table(run.plan, read_metrics(run.metrics))
    assert [(method, [c.text for c in cells]) for method, cells in table.rows] == [
        ("cam", ["45.0", "40.0", "35.0", "40.0", "–", "–"]),
        ("erasing", ["55.0", "50.0", "45.0", "40.0", "–", "–"]),
    ]
    assert [[c.best for c in cells] for _, cells in table.rows] == [[False] * 6, [True] * 3 + [False] * 3]


def test_the_ceiling_of_true_proposals_is_not_the_best(run):
    metrics, (cam, erasing) = read_metrics(run.metrics), run.plan.instances
    ceiling = replace(erasing, proposals="truth")
    table = instance_table(replace(run.plan, instances=[cam, ceiling]), metrics)
    assert [method for method, _ in table.rows] == ["cam", "erasing (true proposals)"]
    assert not any(c.best for _, cells in table.rows for c in cells)  # one row is left to compare
    table = instance_table(replace(run.plan, instances=[cam, ceiling, replace(erasing, proposals="")]), metrics)
    assert [[c.best for c in cells[:3]] for _, cells in table.rows] == [[False] * 3, [False] * 3, [True] * 3]


def test_images_are_those_that_are_there(run):
    trails = instance_trails(run.plan, index=ImageIndex(run.index), image_ids=["img2", "img1", "img0"])
    assert [(t.image_id, [f.caption for f in t.masks]) for t in trails] == [("img1", ["cam"]), ("img0", ["cam"])]
    assert trails[0].truth is None  # the sample has no true instances
    assert [t.masks[0].detail for t in trails] == ["box 0.80, disc 0.25", "disc 0.90, disc 0.50"]


def test_an_instance_has_the_colour_of_its_class_and_an_outline():
    grey, numbers = np.full((60, 60, 3), 128, np.uint8), np.zeros((60, 60), np.uint8)
    numbers[:20, :20], numbers[20:40, :20], numbers[40:, 40:] = 1, 2, 3
    image = _figure(grey, numbers, [1, 1, 2], caption="").image
    assert np.array_equal(image[5, 5], image[30, 5])
    assert not np.array_equal(image[5, 5], image[50, 50])
    assert (image[19, 5] == 255).all()  # between two of one class
    assert (image[20, 5] == 255).all()


def test_the_true_instances_have_the_classes_of_the_class_mask(run):
    """Void pixels are unlabelled; instances that are not described are counted."""
    index = ImageIndex(run.index)
    row = index.rows["img0"]
    numbers = np.zeros_like(run.truths["img0"])
    numbers[:10], numbers[10:20] = 1, 2
    path = run.index.parent / "img0_instances.png"
    save_mask(path, numbers)
    index.rows["img0"] = replace(row, instances=path)
    classes = np.where(numbers == 1, 2, np.where(numbers == 2, 1, 0)).astype(np.uint8)
    classes[0, 0] = 255
    save_mask(row.mask, classes)
    (trail,) = instance_trails(run.plan, index=index, image_ids=["img0"])
    void = np.where(classes == 255, 255, numbers).astype(np.uint8)
    expected = _figure(read_indexed_image(row), void, [2, 1], caption="truth")
    assert np.array_equal(trail.truth.image, expected.image)
    assert _best([instance(1, 0.5)] * 5, index.class_names) == "disc 0.50, disc 0.50, disc 0.50, and 2 more"


def test_an_image_with_more_instances_than_its_file_is_refused(run):
    folder = Path(run.plan.instances[0].folder)
    save_mask(folder / "img0.png", np.full_like(run.truths["img0"], 3))
    with pytest.raises(ArtefactError, match=r"img0\.png: instance 3 of 2 that the shard's file has"):
        instance_trails(run.plan, index=ImageIndex(run.index), image_ids=["img0"])


def test_more_instances_than_an_image_has_numbers_for():
    grey, numbers = np.full((20, 20, 3), 128, np.uint8), np.full((20, 20), 254, np.uint8)
    image = _figure(grey, numbers, [1] * 253 + [2] * 50, caption="").image
    assert np.array_equal(image, _figure(grey, np.ones_like(numbers), [2], caption="").image)


def test_the_page_shows_them(run):
    text = page_of_run(run)
    page = Page(text)
    assert not page.faults
    assert 'href="#instances"' in text
    assert ["erasing", "55.0", "50.0", "45.0", "40.0", "–", "–"] in [row for table in page.tables for row in table]
    assert "instances, outlined, and the confidence of the best" in page.text
    assert "disc 0.90, disc 0.50" in page.text
    assert "Mask proposals by hierarchical watershed" in page.text


def test_a_run_without_instances_has_no_such_part(tmp_path):
    text = page_of_run(make_run(tmp_path))
    assert 'id="instances"' not in text
    assert "#instances" not in text


def test_the_plan_says_where_the_images_are():
    config = load({"run": "x", "methods": ["prm"], "segment": {"methods": []}, "instances": {"methods": ["prm"]}})
    plan = plan_of(PlanSettings(config=config, rounds={"prm": Graph(config).max_rounds("prm")}))
    folder = "results/x/prm/instances"
    assert plan.instances == [
        InstanceFiles(method="prm", folder=f"{folder}/images", files=[f"{folder}/train-0.json"], proposals="watershed")
    ]


def test_the_plan_names_the_proposals_of_each_method():
    recipes = {
        "best": {"kind": "prm", "instances": {"proposals": {"kind": "truth"}}},
        "parts": {"kind": "cam", "instances": {"route": "components"}},
    }
    methods = ["prm", *recipes]
    given = {"run": "x", "methods": methods, "recipes": recipes, "segment": {"methods": []}}
    config = load({**given, "instances": {"methods": methods}})
    plan = plan_of(PlanSettings(config=config, rounds=dict.fromkeys(methods, 1)))
    assert [e.proposals for e in plan.instances] == ["watershed", "truth", ""]
