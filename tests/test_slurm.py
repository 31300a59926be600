"""The workflow on a real SLURM of one machine (tests/mini_slurm.sh).

GPU jobs, faults, cancelled and preempted jobs, a lost workflow process. Every job really goes through sbatch.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
import torch

from wsss.nets.checkpoints import load_network

from .conftest import ROOT
from .toy_run import Project

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]
MACHINE = (
    "--workflow-profile",
    "profiles/slurm",
    "--slurm-init-seconds-before-status-checks",
    "2",
    "--latency-wait",
    "5",
)
ONCE = (*MACHINE, "--retries", "0")
CLASSIFIER = "results/toy/cam/seeds/round-1/classifier.safetensors"
LOG = "results/toy/logs/train_classifier/cam-round-1.log"
LONG = {
    "methods": ["cam"],
    "segment": {"methods": []},
    "seeds": {"classifier": {"epochs": 30}},
    "compute": {"shards": {"train": 3}},
}
"""A training of some seconds, to be disturbed; three shards for two GPUs."""


def why_not() -> str:
    """Why there can be no cluster here; "" if there can."""
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if not shutil.which(name)]
    if os.geteuid():
        return "SLURM's daemons need root here"
    return f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge" if missing else ""


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A cluster with two GPUs, which this process's sbatch and squeue talk to."""
    if reason := why_not():
        pytest.skip(reason)
    script, folder = (
        str(ROOT / "tests" / "mini_slurm.sh"),
        tempfile.mkdtemp(prefix="mini-slurm-"),
    )  # a short path: sockets allow 107 bytes
    known = dict(os.environ)
    try:
        subprocess.run([script, "start", folder, "2"], check=True)
        os.environ |= {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin:{known['PATH']}"}
        yield
    finally:
        subprocess.run([script, "stop", folder], check=True)
        os.environ.clear()
        os.environ.update(known)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def trained(cluster, tmp_path_factory) -> Project:
    """A run whose classifier was trained here, without SLURM and undisturbed."""
    project = Project(tmp_path_factory.mktemp("slurm") / "a folder with blanks")
    done = project.snakemake(CLASSIFIER, over=LONG)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture
def untrained(trained, tmp_path) -> Project:
    """The same run before its training."""
    project = Project.at(Path(shutil.copytree(trained.folder, tmp_path / "copy")))
    shutil.rmtree((project.folder / CLASSIFIER).parent)
    (project.folder / LOG).unlink()
    return project


def slurm_jobs(project: Project) -> list[dict[str, str]]:
    """What SLURM knows of the jobs that this project's folder submitted, oldest first."""
    lines = subprocess.run(
        ["scontrol", "--oneliner", "--details", "show", "jobs"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    jobs = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines if f"WorkDir={project.folder} " in line]
    return sorted(jobs, key=lambda job: int(job["JobId"]))


def wait_for(what: Callable[[], object], *, seconds: float = 120) -> None:
    """Until `what()` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def text_of(path: Path) -> str:
    """Its text; none before it is there."""
    return path.read_text() if path.exists() else ""


class Head:
    """The Snakemake process that submits, in the background; what it says goes to a file."""

    def __init__(self, project: Project, *targets: str, over: dict) -> None:
        self.said = project.folder / "head.txt"
        command = project.command(*targets, over=over, machine=ONCE)
        self.process = subprocess.Popen(
            command, cwd=project.folder, env=project.environment(), stdout=self.said.open("w"), stderr=subprocess.STDOUT
        )

    def ended(self) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(timeout=300)


@pytest.fixture
def training(untrained) -> Iterator[tuple[Project, Head]]:
    """A head process whose training on SLURM has finished some epochs."""
    head = Head(untrained, CLASSIFIER, over=LONG)
    try:
        wait_for(lambda: "epoch 4/30:" in text_of(untrained.folder / LOG))
        yield untrained, head
    finally:
        head.process.kill()
        head.process.wait()


def assert_as_undisturbed(project: Project, trained: Project) -> None:
    """The training went on after a finished epoch and ended with the weights of the undisturbed one."""
    assert int(re.search(r"resuming after epoch (\d+)", text_of(project.folder / LOG)).group(1)) >= 3
    assert_equal_weights(project, trained)


def assert_equal_weights(project: Project, trained: Project) -> None:
    (ours, said), (theirs, heard) = (load_network(p.folder / CLASSIFIER) for p in (project, trained))
    assert said == heard
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())


def times(job: dict[str, str]) -> tuple[pd.Timestamp, pd.Timestamp]:
    return pd.Timestamp(job["StartTime"]), pd.Timestamp(job["EndTime"])


def test_shards_share_the_gpus_and_a_damaged_one_stops_nothing_else(trained):
    """Three GPU jobs on two GPUs.

    One fails at a damaged image, is named with its logs, and alone runs again once the image is mended.
    """
    base = trained.folder / "results" / "toy"
    shard = pd.read_csv(base / "dataset/shards/train-2.csv")["image_id"][0]
    index = pd.read_csv(base / "dataset/index.csv").set_index("image_id")
    image = base / "dataset" / index.loc[shard, "image"]
    whole = image.read_bytes()
    image.write_bytes(b"no image")
    targets = [f"results/toy/cam/seeds/round-1/scores/train-{k}.h5" for k in range(3)]
    broken = trained.snakemake(*targets, over=LONG, machine=ONCE)
    said = broken.stdout + broken.stderr
    assert broken.returncode == 1, said
    assert [(trained.folder / t).exists() for t in targets] == [True, True, False]
    for named in (image.name, "cam-round-1-train-2.log", ".snakemake/slurm_logs/rule_extract_scores"):
        assert named in said

    jobs = slurm_jobs(trained)
    assert sorted(job["JobState"] for job in jobs) == ["COMPLETED", "COMPLETED", "FAILED"]
    assert {(job["Partition"], job["MinMemoryNode"], job["TimeLimit"], job["NumCPUs"]) for job in jobs} == {
        ("gpu", "4000M", "04:00:00", "1")
    }
    at_once = [
        (a["JobId"], b["JobId"])
        for a, b in combinations(jobs, 2)
        if times(a)[0] < times(b)[1] and times(b)[0] < times(a)[1]
    ]
    assert at_once
    assert max(times(j)[0] for j in jobs) >= min(times(j)[1] for j in jobs)  # the third had to wait
    logs = [text_of(base / f"logs/extract_scores/cam-round-1-train-{k}.log") for k in range(3)]
    device = dict(re.search(r"SLURM_JOB_ID (\d+), CUDA_VISIBLE_DEVICES (\d)\n", log).groups() for log in logs)
    assert set(device) == {job["JobId"] for job in jobs}
    assert all(device[a] != device[b] for a, b in at_once)
    assert set(device.values()) == {"0", "1"}

    image.write_bytes(whole)
    mended = trained.snakemake(*targets, over=LONG, machine=ONCE)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert len(slurm_jobs(trained)) == 4
    assert (trained.folder / targets[2]).exists()


@pytest.mark.slow
def test_a_cancelled_training_goes_on_after_its_last_epoch(training, trained):
    project, head = training
    subprocess.run(["scancel", slurm_jobs(project)[0]["JobId"]], check=True)
    assert head.ended() == 1
    assert "CANCELLED" in head.said.read_text()
    assert not (project.folder / CLASSIFIER).exists()
    again = project.snakemake(CLASSIFIER, over=LONG, machine=ONCE)
    assert again.returncode == 0, again.stdout + again.stderr
    assert [job["JobState"] for job in slurm_jobs(project)] == ["CANCELLED", "COMPLETED"]
    assert_as_undisturbed(project, trained)


def test_a_preempted_training_goes_on_by_itself(training, trained):
    """SLURM puts the job back into its queue and starts it again; the head process only waits."""
    project, head = training
    number = slurm_jobs(project)[0]["JobId"]
    subprocess.run(["scontrol", "requeue", number], check=True)
    wait_for(lambda: slurm_jobs(project)[0]["JobState"] == "PENDING")
    subprocess.run(
        ["scontrol", "update", f"JobId={number}", "StartTime=now"], check=True
    )  # SLURM would leave it waiting for two minutes
    assert head.ended() == 0, head.said.read_text()
    (job,) = slurm_jobs(project)
    assert (job["JobState"], job["Restarts"], job["Requeue"]) == ("COMPLETED", "1", "1")
    assert_as_undisturbed(project, trained)


def test_a_lost_head_process_costs_nothing(training, trained):
    """The job runs on without it.

    The next head process finds the folder locked, and once it is unlocked submits what is missing alone.
    """
    project, head = training
    head.process.kill()
    wait_for(lambda: slurm_jobs(project)[0]["JobState"] == "COMPLETED")
    assert_equal_weights(project, trained)
    scores = "results/toy/cam/seeds/round-1/scores/train-0.h5"
    locked = project.snakemake(scores, over=LONG, machine=ONCE)
    assert locked.returncode == 1
    assert "--unlock" in locked.stdout + locked.stderr
    assert project.snakemake("--unlock", over=LONG, machine=ONCE).returncode == 0
    again = project.snakemake(scores, over=LONG, machine=ONCE)
    assert again.returncode == 0, again.stdout + again.stderr
    assert [job["Comment"] for job in slurm_jobs(project)] == [
        "rule_train_classifier_wildcards_cam_1",
        "rule_extract_scores_wildcards_cam_1_train-0",
    ]


def figures(path: Path) -> list[list[str]]:
    """The rows of a metrics.csv, times left out."""
    with path.open(newline="") as file:
        return [row for row in csv.reader(file) if "timing" not in row]


SMALL = {"methods": ["cam"], "segment": {"methods": ["cam"], "variants": ["plain"], "train": {"epochs": 2}}}


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
@pytest.mark.parametrize("over", [None, SMALL], ids=["embedded", "toy"])
def test_the_workflow_ends_with_the_numbers_of_a_local_run(cluster, tmp_path, over: dict | None):
    """embedded: the run of config.yaml, a quarter of an hour each way on two cores."""
    tables = []
    for machine in (("--cores", "2"), MACHINE):
        project = Project(tmp_path / machine[0].strip("-"))
        command = project.command(over=over, machine=machine)
        command = command if over else command[: command.index("--configfile")]
        done = subprocess.run(
            command, cwd=project.folder, env=project.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
        (table,) = (project.folder / "results").glob("*/metrics.csv")
        tables.append(figures(table))
    assert tables[0] == tables[1]
    assert len(tables[0]) > 50
    assert {job["JobState"] for job in slurm_jobs(project)} == {"COMPLETED"}
