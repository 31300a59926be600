"""Stages and whole runs that are asked to stop: one line, exit code 1, nothing half-written, and the same command goes on to the same result. Trainings alone: tests/training/test_resume.py."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import numpy as np
import pytest

from wsss.files.imaging import read_mask
from wsss.files.store import MapWriter

from ..conftest import ROOT
from ..tiny_set import write_tiny_set
from ..toy_run import SMALL
from .comparing import leftovers, same
from .jobs import alive, wait_for
from .stages import KEPT, MASKS, ROUND, RUN, StageRuns, Started

STOPPED = re.compile(r"\Aerror: stopped by SIGTERM; nothing half-written is left, start again\n\Z")
TRIES = 5
"""A stage that had ended before the signal is started again: some take tenths of a second."""


@pytest.fixture(scope="module")
def stages(prepared, tmp_path_factory) -> StageRuns:
    """Each test makes its product anew."""
    return StageRuns(prepared, tmp_path_factory.mktemp("stopped") / "run")


def interrupted(stages: StageRuns, stage: str, *, when: str = "", group: bool = False, helpers: int = 0) -> Started:
    """A stage that got SIGTERM, once its log held `when` and it had as many helpers; with `group` its helpers got it, too."""
    for _ in range(TRIES):
        started = stages.start(stage)
        wait_for(
            lambda s=started: s.process.poll() is not None or (s.logged(when) and len(s.helpers()) >= helpers),
            every=0.001,
        )
        below = started.helpers()
        (os.killpg if group else os.kill)(started.pid, signal.SIGTERM)
        if started.ended(seconds=20) != 0:
            wait_for(lambda b=below: not any(map(alive, b)), seconds=10)
            return started
    pytest.fail("it always ended before the signal came")


def test_a_score_extraction(stages, prepared):
    product = ROUND / "scores" / "train-0.h5"
    (stages.folder / product).unlink()
    started = interrupted(stages, "extract_scores", when="scores: 2/12 images")
    assert started.process.returncode == 1
    assert STOPPED.match(started.told), started.told
    assert "stopped by SIGTERM" in started.log.read_text()
    assert not (stages.folder / product).exists()
    assert leftovers(stages.folder / RUN) == []
    stages.finish("extract_scores")
    assert same(stages.folder / product, prepared.folder / product, name=product.name)


@pytest.mark.parametrize("group", [False, True], ids=["the stage alone", "its processes too"])
def test_a_crf_shard(stages, prepared, group):
    """Its processes end with it, whether the signal reached them or not."""
    (stages.folder / MASKS).unlink()
    started = interrupted(stages, "refine_masks", helpers=2, group=group)
    assert started.process.returncode == 1
    assert STOPPED.match(started.told), started.told
    assert not (stages.folder / MASKS).exists()
    assert leftovers(stages.folder / RUN) == []
    stages.finish("refine_masks")
    assert same(stages.folder / MASKS, prepared.folder / MASKS, name=MASKS.name)


def test_masks_as_images(tmp_path):
    """Images that are there are whole; their list is not there before all of them are."""
    rng = np.random.default_rng(0)
    masks = {f"p{k:03d}": rng.integers(0, 4, (90, 120), dtype=np.uint8) for k in range(400)}
    index, _ = write_tiny_set(tmp_path, {i: (np.zeros((90, 120, 3), np.uint8), [1]) for i in masks})
    with MapWriter(tmp_path / "masks.h5", stage="refine_masks", settings={}) as writer:
        for image_id, mask in masks.items():
            writer.write(image_id, [1], mask=mask)
    listed, images, log = tmp_path / "out/train.csv", tmp_path / "out/train", tmp_path / "log.txt"
    command = [
        "wsss",
        "export_masks",
        "--index",
        str(index),
        "--masks",
        str(tmp_path / "masks.h5"),
        "--output",
        str(listed),
        "--log",
        str(log),
    ]
    for _ in range(TRIES):
        started = Started(command, folder=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, log=log)
        wait_for(lambda s=started: s.process.poll() is not None or s.logged("masks: 80/400"), every=0.001)
        os.kill(started.pid, signal.SIGTERM)
        if started.ended() != 0:
            break
    assert started.process.returncode == 1
    assert STOPPED.match(started.told), started.told
    there = sorted(images.iterdir())
    assert 80 <= len(there) < 400
    assert all(np.array_equal(read_mask(path), masks[path.stem]) for path in there)
    assert not listed.exists()
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert all(np.array_equal(read_mask(images / f"{i}.png"), mask) for i, mask in masks.items())
    assert len(listed.read_text().splitlines()) == 401


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)],
    ids=["SIGTERM", "a closed terminal"],
)
def test_a_whole_run_during_a_training(stages, prepared, number):
    """The training keeps its place within the grace period; Snakemake, which waits for it or dies at once, is started again."""
    network = ROUND / "classifier.safetensors"
    (stages.folder / network).unlink()
    (stages.folder / ROUND / "training.json").unlink()
    command = stages.project.command(str(network), over=SMALL)
    head = Started(command, folder=stages.folder, env=stages.environment(), log=stages.log("train_classifier"))
    wait_for(lambda: head.logged(r" epoch 3/12: loss "))
    os.killpg(head.pid, number)
    assert head.ended(seconds=60) != 0
    wait_for((stages.folder / ROUND / ".resume" / "classifier.safetensors").exists, seconds=20)
    wait_for(lambda: f"stopped by {number.name} " in head.log.read_text(), seconds=20)
    assert not (stages.folder / network).exists()
    if number == signal.SIGHUP:
        assert stages.project.snakemake("--unlock", over=SMALL).returncode == 0
    again = stages.project.snakemake(str(network), over=SMALL)
    assert again.returncode == 0, again.stdout + again.stderr
    assert int(re.search(r"resuming after epoch (\d+)", head.log.read_text()).group(1)) >= 3
    assert same(stages.folder / network, prepared.folder / network, name=network.name)
    assert leftovers(stages.folder / RUN, kept=KEPT) == []
