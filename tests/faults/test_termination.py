"""Stages and whole runs that are asked to stop: one line, exit code 1, nothing half-written.

The same command then goes on to the same result. Trainings alone: tests/training/test_resume.py.
"""

from __future__ import annotations

import os
import re
import signal

import pytest

from ..toy_run import SMALL
from .comparing import leftovers, same
from .jobs import alive, wait_for
from .stages import KEPT, MASKS, ROUND, RUN, StageRuns, Started

STOPPED = re.compile(r"\Aerror: stopped by SIGTERM; nothing half-written is left, start again\n\Z")
TRIES = 5
"""Starts of a stage that ends before the signal comes: some take tenths of a second."""


@pytest.fixture(scope="module")
def stages(prepared, tmp_path_factory) -> StageRuns:
    """Each test makes its product again."""
    return StageRuns(prepared, tmp_path_factory.mktemp("stopped") / "run")


def interrupted(stages: StageRuns, stage: str, *, when: str = "", helpers: int = 0) -> Started:
    """A stage that got SIGTERM, once its log held `when` and it had as many helpers."""
    for _ in range(TRIES):
        started = stages.start(stage)
        wait_for(
            lambda s=started: s.process.poll() is not None or (s.logged(when) and len(s.helpers()) >= helpers),
            every=0.001,
        )
        below = started.helpers()
        os.kill(started.pid, signal.SIGTERM)
        if started.ended(seconds=20) != 0:
            wait_for(lambda b=below: not any(map(alive, b)), seconds=10)
            return started
    pytest.fail("it always ended before the signal came")


def test_a_score_extraction(stages, prepared):
    product = ROUND / "scores" / "train-0.h5"
    (stages.folder / product).unlink()
    started = interrupted(stages, "extract_scores", when="scores: 2/12 images")
    assert started.process.returncode == 1
    assert STOPPED.match(started.printed), started.printed
    assert "stopped by SIGTERM" in started.log.read_text()
    assert not (stages.folder / product).exists()
    assert leftovers(stages.folder / RUN) == []
    stages.finish("extract_scores")
    assert same(stages.folder / product, prepared.folder / product, name=product.name)


def test_a_crf_shard(stages, prepared):
    """Its processes end with it, although the signal did not reach them."""
    (stages.folder / MASKS).unlink()
    started = interrupted(stages, "refine_masks", helpers=2)
    assert started.process.returncode == 1
    assert STOPPED.match(started.printed), started.printed
    assert not (stages.folder / MASKS).exists()
    assert leftovers(stages.folder / RUN) == []
    stages.finish("refine_masks")
    assert same(stages.folder / MASKS, prepared.folder / MASKS, name=MASKS.name)


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)],
    ids=["SIGTERM", "a closed terminal"],
)
def test_a_whole_run_during_a_training(stages, prepared, number):
    """The training keeps its place. Snakemake, which waits for it or dies at once, is started again."""
    network = ROUND / "classifier.pt"
    (stages.folder / network).unlink()
    (stages.folder / ROUND / "training.json").unlink()
    command = stages.project.command(str(network), over=SMALL)
    workflow = Started(command, folder=stages.folder, env=stages.environment(), log=stages.log("train_classifier"))
    wait_for(lambda: workflow.logged(r" epoch 3/12: loss "))
    os.killpg(workflow.pid, number)
    assert workflow.ended(seconds=60) != 0
    wait_for((stages.folder / ROUND / ".resume" / "classifier.pt").exists, seconds=20)
    wait_for(lambda: f"stopped by {number.name} " in workflow.log.read_text(), seconds=20)
    assert not (stages.folder / network).exists()
    if number == signal.SIGHUP:
        assert stages.project.snakemake("--unlock", over=SMALL).returncode == 0
    again = stages.project.snakemake(str(network), over=SMALL)
    assert again.returncode == 0, again.stdout + again.stderr
    assert int(re.search(r"resuming after epoch (\d+)", workflow.log.read_text()).group(1)) >= 3
    assert same(stages.folder / network, prepared.folder / network, name=network.name)
    assert leftovers(stages.folder / RUN, kept=KEPT) == []
