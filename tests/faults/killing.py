"""A run that is killed again and again, at moments drawn from a seed, and started again as docs/RELIABILITY.md says."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wsss.files.provenance_files import SUFFIX
from wsss.files.temporaries import temporary_of

from ..toy_run import Project
from .jobs import Job, alive, at_work_in, jobs_below, processor_seconds

HOW = ("group", "stage", "head")
"""Who gets SIGKILL: Snakemake with all that it started (a power cut, a full stop of the machine); the stage alone (out of memory); Snakemake alone."""
TRAININGS = ("train_classifier", "train_segmenter")


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill: who, and when.

    Attributes:
        how: One of `HOW`.
        moment: "starting" (imports), "working" (from the stage's first log line on), "writing" (a temporary file is there), or words: when its log holds them.
        share: How far into starting or working, as a share of what it took undisturbed.
    """

    how: str
    moment: str
    share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What a job took undisturbed in s of the processor, which does not depend on who else uses it: until its stage began, and from there on."""

    stage: str
    starting: float
    working: float


def plan_kills(jobs: Mapping[str, Timing], *, count: int, seed: int) -> dict[str, list[Kill]]:
    """At least `count` kills, by the output of the job that they hit: every stage twice (it, or all), the rest anywhere, more often in trainings."""
    draw = random.Random(seed)
    plan: dict[str, list[Kill]] = {output: [] for output in jobs}
    stages = sorted({job.stage for job in jobs.values()})
    for stage in stages:
        for _ in range(2):
            output = draw.choice(sorted(o for o, job in jobs.items() if job.stage == stage))
            plan[output].append(Kill(how=draw.choice(HOW[:2]), moment="working", share=draw.uniform(0, 0.6)))
    weights = {output: 6 if job.stage in TRAININGS else 1 for output, job in sorted(jobs.items())}
    for _ in range(max(0, count - 2 * len(stages))):
        (output,) = draw.choices(list(weights), list(weights.values()))
        plan[output].append(
            Kill(
                how=draw.choice(HOW),
                moment=draw.choice(["starting", "working", "working", "writing"]),
                share=draw.uniform(0, 0.9),
            )
        )
    return plan


@dataclass
class KilledRun:
    """A project's run, disturbed.

    Attributes:
        project: Where.
        over: Laid over the toy configuration.
        targets: Of Snakemake.
        jobs: What they took undisturbed, by output; none to measure it.
        plan: Kills to come, by the output of the job.
        hits: (stage, how, moment) of every kill of a living process; "ending": its products were there.
        logs: What the trainings that were hit had logged, by output, in order.
        orphaned: Seconds that stages lived on without Snakemake, one entry a killed head.
        starts: How often Snakemake was started.
        missed: Kills whose job had ended before.
    """

    project: Project
    over: dict
    targets: tuple[str, ...] = ()
    jobs: dict[str, Timing] = field(default_factory=dict)
    plan: dict[str, list[Kill]] = field(default_factory=dict)
    hits: list[tuple[str, str, str]] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=dict)
    orphaned: list[float] = field(default_factory=list)
    starts: int = 0
    missed: list[Kill] = field(default_factory=list)

    def to_the_end(self) -> None:
        """Start, kill, and start again until the run has ended by itself."""
        while not self._start():
            assert self.starts < 1000

    def _start(self) -> bool:
        """One start; whether it ended well."""
        self.starts += 1
        said = self.project.folder / "said.txt"
        command = self.project.command(*self.targets, over=self.over)
        with said.open("w") as file:
            head = subprocess.Popen(
                command,
                cwd=self.project.folder,
                env=self.project.environment(),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        hits = len(self.hits)
        locked = self._disturb(head)
        if head.wait() == 0:
            return True
        assert len(self.hits) > hits, f"it stopped although nobody killed it:\n{said.read_text()[-6000:]}"
        if locked:
            unlocked = self.project.snakemake("--unlock", over=self.over)
            assert unlocked.returncode == 0, unlocked.stdout + unlocked.stderr
        return False

    def _disturb(self, head: subprocess.Popen) -> bool:
        """Carry out the kills that are due until Snakemake has ended; whether it was killed itself."""
        seen: dict[int, _Watched] = {}
        while head.poll() is None:
            for job in jobs_below(head.pid):
                if job.pid not in seen:
                    seen[job.pid] = _Watched(
                        job, self.project.folder, self.jobs.get(job.output), (self.plan.get(job.output) or [None])[0]
                    )
            for pid, watched in seen.items():
                watched.look()
                kill = watched.kill
                if kill is None or not watched.due():
                    continue
                watched.kill = None
                running = [w.job for w in seen.values() if alive(w.job.pid)]
                if not alive(pid):
                    watched.kill = kill  # too late
                    continue
                self._carry_out(kill, watched, head=head, running=running)
                self.plan[watched.job.output].pop(0)
                if kill.how != "stage":
                    return True
            self._give_away(seen)
            time.sleep(0.003)
        if not self.hits:
            for watched in seen.values():
                timing = Timing(
                    stage=watched.job.stage,
                    starting=watched.spent_starting,
                    working=watched.spent - watched.spent_starting,
                )
                self.jobs.setdefault(watched.job.output, timing)
        return False

    def _carry_out(self, kill: Kill, watched: _Watched, *, head: subprocess.Popen, running: list[Job]) -> None:
        """Kill, wait until those that must die are dead, keep what trainings had logged."""
        job, began = watched.job, time.monotonic()
        if kill.how == "stage":
            os.kill(job.pid, signal.SIGKILL)
        elif kill.how == "group":
            os.killpg(head.pid, signal.SIGKILL)
        else:
            os.kill(head.pid, signal.SIGKILL)
        dying = [job] if kill.how == "stage" else running
        if kill.how != "stage":
            head.wait()
        while any(alive(j.pid) for j in dying) and time.monotonic() < began + 60:
            time.sleep(0.01)
        if kill.how == "head":
            self.orphaned.append(time.monotonic() - began)
        for other in dying:
            if other.stage in TRAININGS and (text := (self.project.folder / other.log)).exists():
                self.logs.setdefault(other.output, []).append(text.read_text())
        moment = "ending" if watched.done() else kill.moment
        self.hits.append((job.stage, kill.how, moment))
        print(f"kill {len(self.hits)}: {kill.how}, {moment}, {job.output}", flush=True)

    def _give_away(self, seen: dict[int, _Watched]) -> None:
        """Kills whose job has ended go to a job of the same stage that is still to come, else to any."""
        for watched in seen.values():
            if watched.kill is None or alive(watched.job.pid):
                continue
            output, watched.kill = watched.job.output, None
            kill = self.plan[output].pop(0)
            self.missed.append(kill)
            later = [o for o in self.jobs if not (self.project.folder / o).exists()]
            later = [o for o in later if self.jobs[o].stage == watched.job.stage] or later
            for again in (kill, *self.plan[output]):
                if later:
                    self.plan[min(later)].append(Kill(how=again.how, moment="working", share=again.share / 2))
            self.plan[output] = []

    def left_at_work(self) -> list[int]:
        """Processes that still work in the project's folder."""
        return at_work_in(self.project.folder)

    def counted(self) -> Counter[str]:
        """Kills by stage, those of Snakemake alone left out."""
        return Counter(stage for stage, how, _ in self.hits if how != "head")

    def epochs_again(self) -> dict[str, list[int]]:
        """By training, epochs that each kill made it do again."""
        final = {output: (self.project.folder / log_of(output)).read_text() for output in self.logs}
        return {output: epochs_lost([*texts, final[output]]) for output, texts in self.logs.items()}


class _Watched:
    """A running job, and the next kill that is planned for it."""

    def __init__(self, job: Job, folder: Path, timing: Timing | None, kill: Kill | None) -> None:
        self.job, self.folder, self.timing, self.kill = job, folder, timing, kill
        self.seen, self.spent, self.spent_starting = time.time(), 0.0, -1.0

    @property
    def at_work(self) -> bool:
        """Whether its stage has begun."""
        return self.spent_starting >= 0

    def look(self) -> None:
        """Note how far it is."""
        log = self.folder / self.job.log
        self.spent = max(self.spent, processor_seconds(self.job.pid))
        if not self.at_work and log.exists() and (state := log.stat()).st_size and state.st_mtime > self.seen - 0.5:
            self.spent_starting = self.spent

    def due(self) -> bool:
        """Whether the moment of the kill has come."""
        assert self.kill is not None
        if self.kill.moment == "starting":
            return self.timing is not None and self.spent > self.kill.share * self.timing.starting
        if not self.at_work:
            return False
        if self.kill.moment == "working":
            return self.timing is not None and self.spent - self.spent_starting >= self.kill.share * self.timing.working
        if self.kill.moment == "writing":
            output = self.folder / self.job.output
            written = (output, output.parent / ".resume" / output.name, output.with_name(output.name + SUFFIX))
            return any(temporary_of(path, pid=self.job.pid).exists() for path in written)
        return self.kill.moment in (self.folder / self.job.log).read_text()

    def done(self) -> bool:
        """Whether its log says that it had written its products."""
        log = self.folder / self.job.log
        return self.at_work and log.exists() and f"{self.job.stage}: done in" in log.read_text()


def log_of(output: str) -> str:
    """Log of a training, from the path of its network."""
    parts = Path(output).parts
    base, method = "/".join(parts[:2]), parts[2]
    if parts[3] == "seeds":
        return f"{base}/logs/train_classifier/{method}-{parts[4]}.log"
    return f"{base}/logs/train_segmenter/{method}-{parts[4]}-{parts[5]}.log"


def epochs_lost(logs: list[str]) -> list[int]:
    """Finished epochs that were done again after each kill, from what each start of a training logged."""
    lost, finished = [], 0
    for k, text in enumerate(logs):
        done = [int(n) for n in re.findall(r" epoch (\d+)/\d+: loss ", text)]
        resumed = re.search(r"resuming after epoch (\d+)", text)
        if resumed or done or k == len(logs) - 1:  # else it was killed before it looked for its resume file
            begun = int(resumed.group(1)) if resumed else 0
            if k:
                lost.append(finished - begun)
            finished = max([begun, *done])
    return lost
