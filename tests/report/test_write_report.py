"""The page as a whole."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.report.sample_run import OVERLAY, make_run, page_of_run
from wsss.settings.config import load
from wsss.settings.stage_settings import PlanSettings
from wsss.stages.report.cells import percent
from wsss.stages.report.plan import plan_of
from wsss.stages.report.write_report import seconds, write_report
from wsss.workflow.graph import Graph

VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """Labels with their attributes, whether they close, and the cells of tables."""

    def __init__(self, text):
        super().__init__()
        self.labels, self.open, self.faults, self.tables, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, label, attrs):
        self.labels.append((label, dict(attrs)))
        if label not in VOID:
            self.open.append(label)
        if label == "table":
            self.tables.append([])
        if label == "tr":
            self.tables[-1].append([])
        if label in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, label, attrs):
        self.labels.append((label, dict(attrs)))

    def handle_endtag(self, label):
        if not self.open or self.open.pop() != label:
            self.faults.append((label, self.getpos()))

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] != "style" and ("td" in self.open or "th" in self.open):
            self.tables[-1][-1][-1] += data.strip()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), worse={"img1": 20}, full=True)


@pytest.fixture(scope="module")
def text(run):
    return page_of_run(run)


def test_every_label_closes_and_every_link_leads_somewhere(text):
    page = Page(text)
    assert page.faults == []
    assert page.open == []
    ids = [a["id"] for _, a in page.labels if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for t, a in page.labels if t == "a"} <= set(ids)


def test_nothing_is_fetched_and_every_image_is_inlined(text):
    page = Page(text)
    sources = [a[k] for _, a in page.labels for k in ("src", "href", "srcset", "data", "action") if k in a]
    assert all(s.startswith(("data:", "#")) for s in sources)
    images = [a["src"] for t, a in page.labels if t == "img"]
    assert len(images) > 60
    assert all(p.startswith("data:image/jpeg;base64,") for p in images)
    assert not re.search(r"url\(|@import|<script|<iframe|https?://", text)
    assert len(text) < 6e6


def test_the_table_says_what_metrics_csv_says(text, run):
    def value(**keys):
        rows = [r for r in run.rows if r["class"] == "" and all(r[k] == v for k, v in keys.items())]
        assert len(rows) == 1
        return percent(rows[0]["value"])

    stages, segmenters = tables_of(Page(text))
    assert stages[1] == ["1", "2", "best thr.", "mIoU", "coverage", "mIoU"]
    for row in stages[2:]:
        seed = {"method": row[0], "stage": "seed"}
        rounds = [
            value(method=row[0], stage="scores", round=r, metric="miou_best") if r == 1 or row[0] == "erasing" else "–"
            for r in (1, 2)
        ]
        assert row[1:] == [
            *rounds,
            value(method=row[0], stage="fused", metric="miou_best"),
            value(**seed, metric="miou"),
            value(**seed, metric="coverage"),
            value(method=row[0], stage="pseudo", cycle=0, metric="miou"),
        ]
    assert [row[:3] for row in segmenters[1:]] == [
        ["erasing", "plain", "0"],
        ["erasing", "psl", "0"],
        ["erasing", "psl", "1"],
        ["full", "plain", "0"],
    ]
    for method, variant, cycle, pseudo, train, val, _ in segmenters[1:]:
        assert [train, val] == [
            value(method=method, variant=variant, cycle=int(cycle), split=s, stage="prediction", metric="miou")
            for s in ("train", "val")
        ]
        assert pseudo == (
            "–" if method == "full" else value(method=method, cycle=int(cycle), stage="pseudo", metric="miou")
        )


def tables_of(page):
    """The table method × stage and that of the segmenters."""
    stages = next(t for t in page.tables if t[0][1:] and t[0][1].startswith("scores of round"))
    return stages, next((t for t in page.tables if t[0][1:2] == ["variant"]), None)


def test_the_page_says_what_went_in_and_what_was_seen(text):
    shown = Page(text).text
    for words in (
        "unsupervised",
        "ImageNet weights",
        "Read by evaluation and by the training of “full”: 4 training and 2 validation masks",
        "train_classifier",
        "1 of 4 seed masks has no object pixel",
        "seeds.rounds.count",
        "torch",
        "Never seen in training",
    ):
        assert words in shown, words


def test_texts_are_escaped(tmp_path):
    hostile = '<img src=x onerror=alert(1)>"&'
    run = make_run(tmp_path / "run", names=[hostile, "box"])
    page = page_of_run(run)
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert Page(page).faults == []
    assert not [a for _, a in Page(page).labels if "onerror" in a]


def test_without_truth_the_page_works_and_says_so(tmp_path):
    page = Page(page_of_run(make_run(tmp_path / "run", truth=False)))
    assert page.faults == []
    for words in (
        "no truth masks",
        "The data set has none.",
        "first training images of the index",
        "No truth masks: results were not measured",
    ):
        assert words in page.text, words
    assert "worst" not in {a.get("class", "") for _, a in page.labels}
    assert len([t for t, _ in page.labels if t == "img"]) > 20


def test_stages_that_are_absent_leave_dashes(tmp_path):
    bare = make_run(tmp_path / "run", val=0)
    bare.metrics.write_text(bare.metrics.read_text().splitlines()[0] + "\n")
    artefacts = [a for a in bare.plan.find(method="cam") if a.stage in ("scores", "seed")]
    plan = replace(bare.plan, records=[], saliency={}, benchmarks=str(tmp_path / "none"), artefacts=artefacts)
    page = Page(page_of_run(bare, plan=plan))
    assert page.faults == []
    stages, segmenters = tables_of(page)
    assert stages[2] == ["cam", "–", "–", "–"]
    assert segmenters is None
    assert "No benchmark files were found." in page.text
    assert "There is nothing to draw." in page.text


def test_equal_inputs_make_equal_pages(run, text, tmp_path):
    assert page_of_run(run) == text


def test_the_stage_writes_the_page_and_the_sheet_from_the_workflows_layout(tmp_path, monkeypatch):
    run = make_run(tmp_path / "results/sample")
    monkeypatch.chdir(tmp_path)
    settings = PlanSettings(config=load(OVERLAY), rounds={"cam": 1, "erasing": 2})
    output = Path("results/sample/report/index.html")
    write_report(index=run.index, metrics=run.metrics, settings=settings, output=output)
    assert output.read_text() == page_of_run(run)
    with Image.open(output.parent / "gallery.jpg") as sheet:
        assert sheet.format == "JPEG"
        assert sheet.width > 8 * 200
    assert sorted(p.name for p in output.parent.iterdir()) == ["gallery.jpg", "index.html"]


def test_the_workflows_settings_lead_to_the_same_plan_and_the_regions():
    config = load({"run": "r"})
    rounds = {"cam": 1, "erasing": 3}
    plan, graph = plan_of(PlanSettings(config=config, rounds=rounds)), Graph(config)
    assert [a for a in plan.artefacts if a.stage != "regions"] == graph.measured(rounds)
    regions = plan.find(stage="regions", method="erasing")
    assert [a.files for a in regions] == [graph.regions("erasing", r) for r in (1, 2, 3)]
    with pytest.raises(ValueError, match="expected a number of rounds for cam, erasing"):
        plan_of(PlanSettings(config=config))


@pytest.mark.parametrize(("value", "words"), [(0.31, "0.3 s"), (59.4, "59 s"), (61, "1 min 1 s"), (3660, "1 h 1 min")])
def test_durations_in_words(value, words):
    assert seconds(value) == words
