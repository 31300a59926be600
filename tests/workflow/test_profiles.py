"""The cluster profiles: which rules they send to GPUs, what a retry asks for, and a queue of the PBS kind.

Four lines of shell play the queue. The SLURM profile runs in test_slurm.py.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from benchmarks.resources import asked, requests

from ..conftest import ROOT
from ..toy_run import Project

QUEUE = {
    # runs the script from elsewhere, as a node would; the second job's node is lost
    "qsub": """n=$(($(ls "$QUEUE"/*.args 2>/dev/null | wc -l) + 1)); echo "$*" >"$QUEUE/$n.args"
for script; do :; done; cp "$script" "$QUEUE/$n.sh"
if [ $n = 2 ]; then echo 271 >"$QUEUE/$n.exit"
else (cd /; sh "$QUEUE/$n.sh" >"$QUEUE/$n.log" 2>&1
echo $? >"$QUEUE/$n.part"; mv "$QUEUE/$n.part" "$QUEUE/$n.exit") >/dev/null & fi
echo $n.server""",
    "qstat": """echo "Job Id: $3"; f="$QUEUE/${3%.server}.exit"
if [ -e "$f" ]; then echo "    job_state = F"; echo "    Exit_status = $(cat "$f")"
else echo "    job_state = R"; fi""",
}


def gpu_rules() -> set[str]:
    return {rule for rule, request in requests().items() if request.gpu}


def profile(name: str) -> dict:
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())


@pytest.mark.parametrize(("name", "key"), [("slurm", "slurm_partition"), ("cluster-generic", "queue")])
def test_a_profile_sends_the_gpu_rules_and_no_others_to_gpus(name: str, key: str) -> None:
    settings = profile(name)
    assert set(settings["set-resources"]) == gpu_rules()
    assert settings["default-resources"][key] == "cpu"
    assert {places[key] for places in settings["set-resources"].values()} == {"gpu"}


OWN_GROWTH = {"index_images": (), "train_classifier": ("mem_mb",), "train_segmenter": ("mem_mb",)}
"""A data set's faults are not tried again; a training tried again goes on after its last epoch."""


def test_a_retry_asks_for_more() -> None:
    for rule, request in requests().items():
        assert request.grows == OWN_GROWTH.get(rule, ("mem_mb", "runtime")), rule


def test_the_documented_requests_are_those_of_the_rules() -> None:
    """docs/CLUSTER.md; `python benchmarks/resources.py RUN...` prints the table anew."""
    text = (ROOT / "docs" / "CLUSTER.md").read_text()
    for rule, request in requests().items():
        assert asked(rule, request) in text


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a line for every job that qsub was given."""
    folder = tmp_path / "queue"
    (folder / "bin").mkdir(parents=True)
    for name, text in QUEUE.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("QUEUE", str(folder))
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    return folder


def test_a_queue_of_another_kind(queue: Path, tmp_path: Path) -> None:
    """A job that is lost is tried again with more memory.

    GPU jobs go to the GPU queue; the stages find their package and folder.
    """
    project = Project(tmp_path / "run")
    weights = "results/toy/cam/seeds/round-1/classifier.safetensors"
    machine = (
        "--workflow-profile",
        "profiles/cluster-generic",
        "--seconds-between-status-checks",
        "1",
        "--latency-wait",
        "5",
    )
    done = project.snakemake(weights, over={"methods": ["cam"], "segment": {"methods": []}}, machine=machine)
    assert done.returncode == 0, done.stdout + done.stderr + "".join(p.read_text() for p in queue.glob("*.log"))
    assert (project.folder / weights).exists()
    asked_for = [
        re.search(
            r"-N (\w+) .* -q (\w+) -l select=1:ncpus=1:ngpus=(\d):mem=(\d+)mb -l walltime=(\d+):00", p.read_text()
        ).groups()
        for p in sorted(queue.glob("*.args"))
    ]
    trained = ("train_classifier", "gpu", "1")
    assert asked_for == [
        ("index_images", "cpu", "0", "2000", "60"),
        (*trained, "6000", "1440"),
        (*trained, "12000", "1440"),
    ]
