"""A run that gets SIGKILL again and again ends with the artefacts of an undisturbed one.

The short test kills a run up to its score maps three times. A whole run is killed as often as WSSS_KILLS says by
`WSSS_KILLS=50 pytest -s -m slow tests/faults/test_kills.py`. WSSS_KILLS_SEED draws other moments.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from ..toy_run import SMALL, Project
from .comparing import differences, leftovers
from .jobs import Job, alive, at_work_in, jobs_below, wait_for
from .stages import RUN, Started

SEED = int(os.environ.get("WSSS_KILLS_SEED", "0"))
HOW = ("stage", "snakemake", "all")
"""Who gets SIGKILL: the stage alone (out of memory), Snakemake alone, or Snakemake with all that it started."""
LONGEST_WAIT = 4.0
"""Seconds between a stage's start and a drawn kill."""
WHOLE = {
    "methods": ["salient", "erasing"],
    "recipes": {"salient": {"kind": "cam", "pseudo": {"seed": {"cue": "saliency"}}}},
    "pseudo": {"refine": "crf"},
    "seeds": {"classifier": {"epochs": 6}},
    "segment": {"variants": ["twice"], "recipes": {"twice": {"cycles": 2}}},
    "compute": {"shards": {"train": 1}},
}
"""Every stage from the data set to the report: saliency, two rounds of erasing, CRF, two cycles of a segmenter."""


class KilledRun:
    """A project's run, started again after each kill as docs/RELIABILITY.md says."""

    def __init__(self, project: Project, *targets: str, over: dict) -> None:
        self.project, self.targets, self.over = project, targets, over
        self.hits: list[tuple[str, str]] = []

    def start(self) -> Started:
        """Snakemake in the background."""
        command = self.project.command(*self.targets, over=self.over)
        log = self.project.folder / "none.log"
        return Started(command, folder=self.project.folder, env=self.project.environment(), log=log)

    def kill(self, how: str, *, due: Callable[[list[Job]], Job | None]) -> bool:
        """Start Snakemake, and kill as soon as `due(jobs that run)` names a job; False if the run ended before."""
        started, job = self.start(), None
        while job is None and started.process.poll() is None:
            time.sleep(0.005)
            job = due(jobs_below(started.pid))
        if job is None:
            assert started.ended() == 0, started.printed[-6000:]
            return False
        dying = [job] if how == "stage" else jobs_below(started.pid)
        if how == "all":
            os.killpg(started.pid, signal.SIGKILL)
        else:
            os.kill(job.pid if how == "stage" else started.pid, signal.SIGKILL)
        wait_for(lambda: not any(alive(j.pid) for j in dying), seconds=60)
        started.ended()
        if how != "stage":
            assert self.project.snakemake("--unlock", over=self.over).returncode == 0
        self.hits.append((job.stage, how))
        print(f"kill {len(self.hits)}: {how}, {job.output}", flush=True)
        return True

    def finish(self) -> None:
        """Start it without a kill."""
        started = self.start()
        assert started.ended(seconds=1800) == 0, started.printed[-6000:]
        wait_for(lambda: not at_work_in(self.project.folder), seconds=20)


def test_a_few_kills(prepared, tmp_path):
    """The stage alone and Snakemake alone during a training, everything at once during the score maps."""
    training, scores = (f"{RUN}/cam/seeds/round-1/{name}" for name in ("classifier.pt", "scores/train-0.h5"))
    run = KilledRun(Project(tmp_path / "killed"), scores, over=SMALL)

    def epochs_done(jobs: list[Job], least: int) -> Job | None:
        job = next((j for j in jobs if j.output == training), None)
        log = run.project.folder / job.log if job else None
        return job if log and log.exists() and f" epoch {least}/12: loss " in log.read_text() else None

    draw = random.Random(SEED)
    first, second = draw.randint(1, 5), draw.randint(6, 10)
    assert run.kill("stage", due=lambda jobs: epochs_done(jobs, first))
    assert run.kill("snakemake", due=lambda jobs: epochs_done(jobs, second))
    log = (run.project.folder / RUN / "logs/train_classifier/cam-round-1.log").read_text()
    assert int(re.search(r"resuming after epoch (\d+)", log).group(1)) >= first - 1
    assert run.kill("all", due=lambda jobs: next((j for j in jobs if j.output == scores), None))
    run.finish()
    assert differences(run.project.folder / RUN, prepared.folder / RUN, part=True) == []
    assert leftovers(run.project.folder / RUN) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_whole_run_survives_many_kills(tmp_path):
    count, draw = int(os.environ.get("WSSS_KILLS", "50")), random.Random(SEED)
    undisturbed, killed = (KilledRun(Project(tmp_path / n), over=WHOLE) for n in ("undisturbed", "killed"))
    undisturbed.finish()
    while len(killed.hits) < count:
        skipped, seen, moment = draw.randint(0, 2), {}, draw.uniform(0, LONGEST_WAIT)

        def due(jobs, skipped=skipped, seen=seen, moment=moment):
            """One of the first jobs of this start, some time after it began: so each start gets a little further."""
            for job in jobs:
                seen.setdefault(job.pid, time.monotonic())
            late = list(seen)[skipped:]
            return next((j for j in jobs if j.pid in late and time.monotonic() - seen[j.pid] > moment), None)

        if not killed.kill(draw.choice(HOW), due=due):
            break
    killed.finish()
    print(f"{len(killed.hits)} kills: {dict(Counter(killed.hits))}")
    assert differences(killed.project.folder / RUN, undisturbed.project.folder / RUN) == []
    assert leftovers(killed.project.folder / RUN) == []
    verified = killed.project.command_line("verify", str(RUN))
    assert verified.returncode == 0, verified.stdout
    assert "0 faults" in verified.stdout
