"""A run that gets SIGKILL again and again ends with the artefacts of an undisturbed one.

The short test kills a run up to its pseudo masks a few times. `WSSS_KILLS=50 pytest -s -m slow tests/faults/test_kills.py` kills a whole run as often, every stage of it at least twice;
WSSS_KILLS_SEED draws other moments.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from ..toy_run import SMALL, Project
from .comparing import differences, leftovers
from .jobs import wait_for
from .killing import Kill, KilledRun, Timing, plan_kills

RUN = Path("results/toy")
SEED = int(os.environ.get("WSSS_KILLS_SEED", "0"))
WHOLE = {
    "methods": ["salient", "erasing"],
    "recipes": {"salient": {"kind": "cam", "pseudo": {"seed": {"cue": "saliency"}}}},
    "pseudo": {"refine": "crf"},
    "seeds": {"classifier": {"epochs": 6}},
    "segment": {"variants": ["twice"], "recipes": {"twice": {"cycles": 2}}},
    "compute": {"shards": {"train": 1}},
}
"""Every stage from the data set to the report: saliency, two rounds of erasing, CRF, two cycles of a segmenter."""


SPARE = 4
"""Kills planned beyond those asked for: some come when their job has just ended."""


def assert_nothing_lost(run: KilledRun, reference: Project, *, part: bool = False) -> None:
    """The same artefacts, nothing left over, nobody left at work, at most an epoch done again after each kill."""
    wait_for(lambda: not run.left_at_work(), seconds=20)
    assert differences(run.project.folder / RUN, reference.folder / RUN, part=part) == []
    assert leftovers(run.project.folder / RUN) == []
    again = run.epochs_again()
    print(
        f"{len(run.hits)} kills hit in {run.starts} starts, {len(run.missed)} came too late; of {dict(Counter(how for _, how, _ in run.hits))}"
    )
    print(
        f"by stage, without those of Snakemake alone: {dict(sorted(run.counted().items()))}; at moments {dict(Counter(m for *_, m in run.hits))}"
    )
    print(
        f"epochs done again after each kill of a training: {again}; stages without Snakemake ended after s: {[round(s, 1) for s in run.orphaned]}"
    )
    assert all(0 <= epochs <= 1 for lost in again.values() for epochs in lost), again


def test_a_few_kills(prepared, tmp_path):
    """The stage alone and Snakemake alone during a training, everything at once during the score maps."""
    draw = random.Random(SEED)
    training, scores = ("results/toy/cam/seeds/round-1/" + name for name in ("classifier.safetensors", "scores/train-0.h5"))
    first, second = (draw.randint(a, a + 4) for a in (1, 6))
    plan = {
        training: [
            Kill(how="stage", moment=f" epoch {first}/12: loss"),
            Kill(how="head", moment=f" epoch {second}/12: loss"),
        ],
        scores: [Kill(how="group", moment="starting")],
    }
    jobs = {scores: Timing(stage="extract_scores", starting=1.0, working=1.0)}
    run = KilledRun(project=Project(tmp_path / "killed"), over=SMALL, targets=(scores,), jobs=jobs, plan=plan)
    run.to_the_end()
    assert [how for _, how, _ in run.hits] == ["stage", "head", "group"]
    assert_nothing_lost(run, prepared, part=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_whole_run_survives_many_kills(tmp_path):
    count, began = int(os.environ.get("WSSS_KILLS", "50")), time.monotonic()
    undisturbed, killed = (Project(tmp_path / name) for name in ("undisturbed", "killed"))  # both now: the same code
    whole = KilledRun(project=undisturbed, over=WHOLE)
    whole.to_the_end()
    print(f"undisturbed: {len(whole.jobs)} jobs, {time.monotonic() - began:.0f} s")
    plan = plan_kills(whole.jobs, count=count + SPARE, seed=SEED)
    run = KilledRun(project=killed, over=WHOLE, jobs=whole.jobs, plan=plan)
    run.to_the_end()
    print(f"killed: {time.monotonic() - began:.0f} s with the undisturbed one")
    assert_nothing_lost(run, whole.project)
    assert len(run.hits) >= count
    assert set(run.counted()) == {job.stage for job in whole.jobs.values()}
    assert min(run.counted().values()) >= 2
    verified = run.project.command_line("verify", str(RUN))
    assert verified.returncode == 0, verified.stdout
    assert "0 faults" in verified.stdout
