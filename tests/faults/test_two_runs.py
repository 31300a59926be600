"""Two at once in one folder: the same run, runs of other names, and a stage by hand beside the workflow."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..toy_run import SMALL, Project
from .comparing import differences, leftovers, same
from .jobs import jobs_below, wait_for
from .stages import KEPT, ROUND, RUN, StageRuns, Started

NETWORK = ROUND / "classifier.pt"


@pytest.fixture
def untrained(prepared, tmp_path) -> StageRuns:
    """The run before its training."""
    stages = StageRuns(prepared, tmp_path / "run")
    for name in ("classifier.pt", "training.json"):
        (stages.folder / ROUND / name).unlink()
    return stages


@contextmanager
def paused(workflow: Started) -> Iterator[None]:
    """Pause a workflow's training during the block: else it would have ended before the other has begun."""
    (job,) = jobs_below(workflow.pid)
    os.kill(job.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(job.pid, signal.SIGCONT)


def text_of(path: Path) -> str:
    """Its text; none before it is there."""
    return path.read_text() if path.exists() else ""


def test_a_second_snakemake_is_refused_and_the_first_goes_on(untrained, prepared):
    command = untrained.project.command(str(NETWORK), over=SMALL)
    first = Started(
        command, folder=untrained.folder, env=untrained.environment(), log=untrained.log("train_classifier")
    )
    wait_for(lambda: first.logged(r" epoch 1/12: loss "))
    with paused(first):
        second = untrained.project.snakemake(str(NETWORK), over=SMALL)
        shutil.rmtree(untrained.folder / ".snakemake" / "locks")  # as any run that ends in this folder leaves it
        third = untrained.project.snakemake(str(NETWORK), over=SMALL)
    assert second.returncode == third.returncode == 1
    assert "Directory cannot be locked" in second.stdout + second.stderr
    assert f"error: another snakemake makes the run toy: process {first.pid} on " in third.stdout + third.stderr
    assert first.ended() == 0, first.printed
    assert same(untrained.folder / NETWORK, prepared.folder / NETWORK, name=NETWORK.name)
    assert leftovers(untrained.folder / RUN, kept=KEPT) == []


def test_a_stage_by_hand_while_the_workflow_makes_the_same(untrained, prepared):
    """Both train, over one resume file; each product is one of two equal ones, whole."""
    command = untrained.project.command(str(NETWORK), over=SMALL)
    workflow = Started(
        command, folder=untrained.folder, env=untrained.environment(), log=untrained.log("train_classifier")
    )
    wait_for(lambda: workflow.logged(r" epoch 2/12: loss "))
    with paused(workflow):
        by_hand = untrained.start("train_classifier", log=untrained.folder / "by-hand.txt")
        wait_for(lambda: " epoch 3/12: loss " in text_of(untrained.folder / "by-hand.txt"))
    assert workflow.ended() == 0, workflow.printed
    assert by_hand.ended() == 0, by_hand.printed
    assert same(untrained.folder / NETWORK, prepared.folder / NETWORK, name=NETWORK.name)
    assert leftovers(untrained.folder / RUN, kept=KEPT) == []
    again = untrained.project.snakemake("-n", str(NETWORK), over=SMALL)
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.slow
def test_runs_of_other_names_do_not_disturb_each_other(prepared, tmp_path):
    """Snakemake locks files, not the folder; equal settings, so equal results."""
    project = Project(tmp_path / "run")
    target = "cam/seeds/round-1/scores/train-0.h5"
    both = []
    for name in ("one", "two"):
        command = project.command(f"results/{name}/{target}", over=SMALL)
        overlay = project.folder / f"{name}.yaml"
        overlay.write_text(json.dumps({**SMALL, "run": name}))
        command[command.index(str(project.folder / "over.yaml"))] = str(overlay)
        both.append(
            Started(command, folder=project.folder, env=project.environment(), log=project.folder / f"{name}.log")
        )
    assert [started.ended() for started in both] == [0, 0], [started.printed for started in both]
    for name in ("one", "two"):
        found = differences(project.folder / "results" / name, prepared.folder / RUN, part=True)
        assert [line for line in found if "provenance" not in line] == []
