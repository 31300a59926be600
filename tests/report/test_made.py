"""What made the run, from its records, and the section of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.sample_run import make_run, page_of_run
from wsss.files.provenance_files import record_of
from wsss.files.text_files import write_text
from wsss.provenance.records import recorded
from wsss.settings.sections import ComputeSection
from wsss.settings.stage_settings import ClaimSettings, ClassifierSettings
from wsss.stages.report.made import made_of, read_made


def make(stage: str, folder: str, output: Path, **given: object) -> Path:
    """A product with its real record."""
    arguments = {"output": output, **given}
    with recorded(stage, arguments):
        write_text(output, f"{stage} {sorted(given)}")
    return output


@pytest.fixture
def run(tmp_path):
    sample = make_run(tmp_path)
    regions = make(
        "claim_regions", "seeds", tmp_path / "cam" / "regions.h5", settings=ClaimSettings(), index=sample.index
    )
    make(
        "train_classifier",
        "seeds",
        tmp_path / "cam" / "b.safetensors",
        record=regions,
        regions=[regions],
        settings=ClassifierSettings(seed=7),
        compute=ComputeSection(device="cpu"),
    )
    return sample


def test_products_that_agree(run, tmp_path):
    made = read_made(tmp_path)
    assert (made.products, made.faults) == (2, [])
    facts = dict(made.facts)
    assert facts["seed"] == "7"
    assert facts["device"] == "cpu"
    assert {"torch", "numpy", "python", "wsss", "threads", "precision"} <= set(facts)
    assert [(s.stage, s.products, s.seeds) for s in made.stages] == [
        ("claim_regions", 1, []),
        ("train_classifier", 1, ["7"]),
    ]
    page = page_of_run(run)
    assert "The provenance records of all 2 products agree" in page
    assert made.stages[1].codes[0] in page
    assert "wsss verify sample" in page
    assert "versions of what wrote this page" not in page


def test_a_product_made_again_is_a_bad_result(run, tmp_path):
    make("claim_regions", "seeds", tmp_path / "cam" / "regions.h5", settings=ClaimSettings())
    assert [level for level, _ in read_made(tmp_path).faults] == ["bad"]
    page = page_of_run(run)
    assert "regions.h5 was made again after cam/b.safetensors had been made from it" in page
    assert "The provenance records of 2 products do not agree" in page
    assert "failed silently" in page


def test_several_versions_are_a_note():
    base = {"stage": "s", "wsss": "1", "revision": "r", "python": "3", "settings": {}, "code": "c", "seed": None}
    base |= {"device": "cpu", "processor": "p", "host": "h", "seconds": 1.0, "made": "2026-01-02T03:04:05+00:00"}
    base |= {"inputs": {}, "products": []}
    records = {name: {**base, "libraries": {"torch": torch}} for name, torch in (("a", "2"), ("b", "3"))}
    made = made_of(records, broken=["c"])
    assert made.faults == [
        ("note", "more than one torch: 2 made a, 3 made b"),
        ("bad", "the record of c cannot be used"),
    ]
    assert dict(made.facts)["torch"] == "2, 3"
    assert (made.stages[0].seconds, made.stages[0].last) == (2.0, "2026-01-02")


def test_a_damaged_record_and_none_at_all(run, tmp_path):
    record_of(tmp_path / "cam" / "b.safetensors").write_text("{")
    assert ("bad", "the record of cam/b.safetensors cannot be used") in read_made(tmp_path).faults
    for path in tmp_path.rglob("*.provenance.json"):
        path.unlink()
    assert read_made(tmp_path).products == 0
    page = page_of_run(run)
    assert "There are no provenance records: these are the versions of what wrote this page." in page
