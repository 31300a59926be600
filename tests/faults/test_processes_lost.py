"""Helper processes that die, a stage that dies and leaves its helpers, and lack of memory: one clear error.

Nobody waits for ever, and the next try ends as an undisturbed one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator

import pytest

from wsss.runtime.workflow_process import WORKFLOW

from .comparing import leftovers, same
from .jobs import alive, wait_for
from .stages import KEPT, MASKS, ROUND, RUN, StageRuns

NETWORK = ROUND / "classifier.pt"
LARGE = {"classifier": {"batch_size": 12, "augment": {"crop": 1024}}}


@pytest.fixture(scope="module")
def copied(prepared, tmp_path_factory) -> StageRuns:
    """One copy for all."""
    return StageRuns(prepared, tmp_path_factory.mktemp("lost") / "run")


@pytest.fixture
def stages(copied, prepared) -> Iterator[StageRuns]:
    """Each test makes its product again. What a failed test did not make is restored for the next."""
    yield copied
    for file in (prepared.folder / RUN).rglob("*"):
        here = copied.folder / file.relative_to(prepared.folder)
        if file.is_file() and not here.exists():
            here.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, here)


def one_error(text: str) -> str:
    """The only line that a stage printed."""
    (line,) = text.splitlines()
    assert line.startswith("error: "), text
    return line


def remove(stages: StageRuns, *products) -> None:
    for product in products:
        (stages.folder / product).unlink(missing_ok=True)


def test_a_dead_loader_of_a_training_is_named_and_costs_an_epoch(stages, prepared):
    remove(stages, NETWORK, ROUND / "training.json")
    started = stages.start("train_classifier", workers=2)
    wait_for(lambda: started.logged(r" epoch 2/12: loss ") or started.process.poll() is not None)
    loaders = started.helpers()
    assert len(loaders) == 2, started.printed
    os.kill(loaders[0], signal.SIGKILL)
    assert started.ended(seconds=60) == 1
    killed = "a process that loads images was killed, most often for lack of memory; compute.workers is 2: use fewer"
    assert killed in one_error(started.printed)
    wait_for(lambda: not any(map(alive, loaders)), seconds=20)
    assert not (stages.folder / NETWORK).exists()
    stages.finish("train_classifier", workers=1)
    assert int(re.search(r"resuming after epoch (\d+)", started.log.read_text()).group(1)) >= 1
    assert same(stages.folder / NETWORK, prepared.folder / NETWORK, name=NETWORK.name)
    assert leftovers(stages.folder / RUN) == []


def test_a_dead_process_of_a_pool_is_named(stages, prepared):
    """The CRF of a shard is shared by two processes."""
    remove(stages, MASKS)
    started = stages.start("refine_masks")
    wait_for(lambda: len(started.helpers()) == 2 or started.process.poll() is not None, every=0.001)
    helpers = started.helpers()
    os.kill(helpers[0], signal.SIGKILL)
    assert started.ended(seconds=60) == 1
    error = one_error(started.printed)
    assert "one of 2 processes was killed, most often for lack of memory; use fewer" in error
    wait_for(lambda: not any(map(alive, helpers)), seconds=20)
    assert not (stages.folder / MASKS).exists()
    stages.finish("refine_masks", workers=1)
    assert same(stages.folder / MASKS, prepared.folder / MASKS, name=MASKS.name)


@pytest.mark.parametrize(
    ("stage", "product", "workers"), [("refine_masks", MASKS, 2), ("train_classifier", NETWORK, 1)]
)
def test_helpers_do_not_outlive_a_killed_stage(stages, stage, product, workers):
    """Else they would wait for work for ever, with their memory."""
    remove(stages, product)
    started = stages.start(stage, workers=workers)
    wait_for(lambda: len(started.helpers()) == workers or started.process.poll() is not None, every=0.001)
    helpers = started.helpers()
    assert len(helpers) == workers
    os.kill(started.pid, signal.SIGKILL)
    started.ended()
    wait_for(lambda: not any(map(alive, helpers)), seconds=30)


def test_a_training_killed_as_it_ends_does_not_begin_again(stages, prepared, monkeypatch):
    """Everything is written, then the process is killed: Snakemake takes the outputs away."""
    resume = stages.folder / RUN / KEPT
    monkeypatch.setenv(WORKFLOW, "a workflow")
    remove(stages, NETWORK, ROUND / "training.json")
    stages.finish("train_classifier")
    assert resume.exists()
    remove(stages, NETWORK, ROUND / "training.json")
    stages.finish("train_classifier")
    log = stages.log("train_classifier").read_text()
    assert "resuming after epoch 12" in log
    assert "epoch 12/12: loss" not in log
    assert same(stages.folder / NETWORK, prepared.folder / NETWORK, name=NETWORK.name)
    stages.finish("extract_scores")
    assert not resume.parent.exists()


@pytest.mark.parametrize(("workers", "megabytes"), [(0, 400), (1, 250)], ids=["a training", "its loader"])
def test_lack_of_memory_is_one_line(stages, workers, megabytes):
    """A limit on the process's memory that torch can start with, and settings that really need more."""
    remove(stages, NETWORK)
    runner = ("-m", "tests.faults.short_of_memory", str(megabytes))
    started = stages.start("train_classifier", runner=runner, settings=LARGE, workers=workers)
    assert started.ended(seconds=120) == 1, started.printed
    error = one_error(started.printed)
    assert re.match(r"error: out of memory \(.+\); what takes less: fewer compute.workers, a smaller batch_size", error)
    assert not (stages.folder / NETWORK).exists()
    assert leftovers(stages.folder / RUN) == []
    stages.finish("train_classifier")
