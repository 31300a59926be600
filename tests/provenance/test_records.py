"""Records of what made a product: what they hold, when they are written, and when there is none."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from wsss.__main__ import main
from wsss.cli.stage_commands import STAGES, load_stage, stage_command
from wsss.files.errors import ArtefactError
from wsss.files.store import MapWriter
from wsss.provenance import records
from wsss.provenance.records import (
    PRODUCTS,
    SUFFIX,
    file_digest,
    find_records,
    input_files,
    mixtures,
    read_record,
    record_of,
    stale_inputs,
)
from wsss.settings.stage_settings import ClassifierSettings, IndexSettings

from ..conftest import ROOT
from ..tiny_set import write_tiny_set


@pytest.fixture
def words(tmp_path, monkeypatch) -> list[str]:
    """Command of a real stage in results/tiny: claim_regions on one image."""
    monkeypatch.chdir(tmp_path)
    run = Path("results/tiny")
    index, shard = write_tiny_set(run, {"a": (np.zeros((8, 8, 3), np.uint8), [1])})
    with MapWriter(run / "scores.h5", stage="extract_scores", settings={}) as writer:
        writer.write("a", [1], scores=np.arange(4, dtype=np.float16).reshape(1, 2, 2))
    given = {"index": index, "shard": shard, "scores": run / "scores.h5", "output": run / "regions.h5", "log": "log"}
    return ["claim_regions", *(str(w) for k, v in given.items() for w in (f"--{k}", v))]


def call(words: list[str]):
    return CliRunner().invoke(main, words)


def test_a_record_says_what_made_the_product(words):
    assert call(words).exit_code == 0
    record = read_record(Path(f"results/tiny/regions.h5{SUFFIX}"))
    assert (record["stage"], record["run"], record["device"], record["seed"]) == (
        "claim_regions",
        "results/tiny",
        "cpu",
        None,
    )
    assert [p["path"] for p in record["products"]] == ["results/tiny/regions.h5"]
    assert (
        record["products"][0]["digest"]
        == hashlib.blake2b(Path("results/tiny/regions.h5").read_bytes(), digest_size=16).hexdigest()
    )
    assert {k: [Path(e["path"]).name for e in v] for k, v in record["inputs"].items()} == {
        "index": ["index.csv", "classes.csv", "statistics.json"],
        "shard": ["train-0.csv"],
        "scores": ["scores.h5"],
    }
    assert record["settings"]["settings"]["claim"]["rel_threshold"] == 0.85
    assert re.fullmatch("[0-9a-f]{12}", record["code"])
    assert {
        "torch",
        "numpy",
        "opencv-python-headless",
        "h5py",
        "pydensecrf2",
        "onnxruntime",
        "numba",
        "timm",
        "torchvision",
    } <= set(record["libraries"])
    assert {"python", "wsss", "revision", "made", "host", "seconds", "processor"} <= set(record)


def test_what_varies_between_equal_runs_is_in_the_record_alone(words):
    call(words)
    first, record = (
        Path("results/tiny/regions.h5").read_bytes(),
        read_record(record_of(Path("results/tiny/regions.h5"))),
    )
    time.sleep(1.1)
    call(words)
    again = read_record(record_of(Path("results/tiny/regions.h5")))
    assert Path("results/tiny/regions.h5").read_bytes() == first
    assert again["made"] != record["made"]
    assert {k for k in record if record[k] != again[k]} <= {"made", "seconds"}


def test_a_failed_stage_leaves_no_record(words):
    call(words)
    Path("results/tiny/scores.h5").write_bytes(b"no store file")
    assert call(words).exit_code == 1
    assert find_records(Path("results/tiny")) == []


def test_a_job_killed_before_its_record_leaves_none(words):
    """The old record is removed before the stage begins. A process that dies after its product leaves no record."""
    call(words)
    dies = "import os\nfrom wsss.provenance import records as r\nr.library_versions = lambda: os._exit(9)\n"
    code = f"{dies}from wsss.__main__ import main\nmain()\n"
    assert subprocess.run([sys.executable, "-c", code, *words], check=False).returncode == 9
    assert Path("results/tiny/regions.h5").is_file()
    assert find_records(Path("results/tiny")) == []


def test_an_input_that_changes_meanwhile_no_longer_fits(words, monkeypatch):
    """Inputs are digested before the stage reads them."""
    scores = Path("results/tiny/scores.h5")
    before = file_digest(scores)
    monkeypatch.setattr(records, "library_versions", lambda: scores.write_bytes(b"new") and {})
    assert call(words).exit_code == 0
    record = read_record(record_of(Path("results/tiny/regions.h5")))
    assert record["inputs"]["scores"][0]["digest"] == before != file_digest(scores)


def test_a_record_that_was_changed_is_refused(words):
    call(words)
    path = record_of(Path("results/tiny/regions.h5"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"host": "elsewhere"}))
    with pytest.raises(ArtefactError, match="was changed, expected it as its stage wrote it"):
        read_record(path)
    for text in ("[]", '{"format": 99}'):
        path.write_text(text)
        with pytest.raises(ArtefactError, match="expected 1"):
            read_record(path)


@pytest.mark.parametrize("stage", STAGES)
def test_products_and_inputs_are_those_of_the_rule(stage):
    """Every option that a rule fills from its output is a product, every one that it fills from its input is not."""
    text = "".join(p.read_text() for p in sorted((ROOT / "rules").glob("*.smk")))
    shell = re.search(rf'"wsss {stage} .*?--log', text, re.S).group(0)
    filled = dict(re.findall(r"--(\w+) \{(input|output|params|resources|threads)", shell))
    products = PRODUCTS.get(stage, ("output",))
    assert {n for n, source in filled.items() if source == "output"} == set(products)
    known = {p.name for p in stage_command(stage).params}
    assert set(products) <= known
    assert load_stage(stage).__name__ == stage


def test_files_that_settings_name_are_inputs(tmp_path):
    weights = tmp_path / "net.params"
    weights.write_bytes(b"w")
    settings = ClassifierSettings.model_validate({"backbone": {"weights": str(weights)}})
    found = input_files(
        "train_classifier",
        {"settings": settings, "output": tmp_path / "o.pt", "record": tmp_path / "r.json", "regions": []},
    )
    assert found == {"settings": [weights]}
    (tmp_path / "labels.csv").write_text("image,labels")
    index = IndexSettings.model_validate({"dataset": {"kind": "folder", "folder": {"root": str(tmp_path)}}})
    assert input_files("index_images", {"settings": index, "output": tmp_path / "index.csv"}) == {
        "settings": [tmp_path / "labels.csv"]
    }


def record(**values: object) -> dict:
    base = {
        "stage": "s",
        "wsss": "1",
        "python": "3",
        "libraries": {"torch": "2"},
        "settings": {},
        "code": "c",
        "device": "cpu",
        "processor": "p",
    }
    return {**base, "threads": 1, "precision": "32", "inputs": {}, "products": [], **values}


def test_what_differs_among_records():
    computing = {"settings": {"compute": {}}}
    assert mixtures({"a": record(), "b": record(device="cuda")}) == {}  # stages without `compute` do not use it
    assert mixtures({"a": record(**computing), "b": record(**computing, device="cuda"), "c": record(**computing)}) == {
        "device": {"cpu": ["a", "c"], "cuda": ["b"]}
    }
    assert mixtures({"a": record(), "b": record(libraries={"torch": "1"}, code="d")}) == {
        "torch": {"2": ["a"], "1": ["b"]},
        "code of s": {"c": ["a"], "d": ["b"]},
    }


def test_stale_products_by_their_records():
    made = record(products=[{"path": "x", "digest": "1"}])
    for digest, stale in (("1", []), ("2", [("b", "x")])):
        assert (
            stale_inputs(
                {
                    "a": made,
                    "b": record(inputs={"maps": [{"path": "x", "digest": digest}, {"path": "outside", "digest": "9"}]}),
                }
            )
            == stale
        )
