"""Stages of a copy of a prepared run, in the background, by the commands of its rules: to be disturbed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..conftest import ROOT
from ..toy_run import SMALL, Project
from .jobs import alive, children, command_line

RUN = Path("results/toy")
ROUND = RUN / "cam" / "seeds" / "round-1"
MASKS = RUN / "cam" / "pseudo" / "plain" / "cycle-0" / "train-0.h5"
KEPT = "cam/seeds/round-1/.resume/classifier.pt"
"""What a training by the workflow leaves for the stage that reads its network to remove."""


class StageRuns:
    """A copy of a prepared run whose stages can be called one by one."""

    def __init__(self, prepared: Project, folder: Path) -> None:
        self.project = Project.at(Path(shutil.copytree(prepared.folder, folder, symlinks=True)))
        planned = self.project.snakemake("-n", "-p", "--forceall", str(MASKS), over=SMALL)
        lines = re.findall(r"^Shell command: wsss (\w+) (.*)$", planned.stdout + planned.stderr, re.M)
        self.words = {stage: shlex.split(line) for stage, line in lines}

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.project.folder

    def command(self, stage: str, *, settings: dict[str, Any] | None = None, **options: object) -> list[str]:
        """A stage's command: settings laid over the rule's, options in place of its own."""
        words = [*self.words[stage]]
        if settings:
            at = words.index("--settings") + 1
            words[at] = json.dumps(laid_over(json.loads(words[at]), settings))
        for name, value in options.items():
            words[words.index(f"--{name}") + 1] = str(value)
        return [stage, *words]

    def start(
        self,
        stage: str,
        *,
        runner: tuple[str, ...] = ("-m", "wsss"),
        settings: dict[str, Any] | None = None,
        **options: object,
    ) -> Started:
        """The stage in the background, in a process group of its own."""
        return Started(
            [sys.executable, *runner, *self.command(stage, settings=settings, **options)],
            folder=self.folder,
            env=self.environment(),
            log=self.log(stage),
        )

    def finish(self, stage: str, **given: Any) -> None:
        """The stage from beginning to end."""
        started = self.start(stage, **given)
        assert started.ended() == 0, started.printed

    def log(self, stage: str) -> Path:
        """Its log file."""
        words = self.words[stage]
        return self.folder / words[words.index("--log") + 1]

    def environment(self) -> dict[str, str]:
        """This copy's package before the tests' folder."""
        return self.project.environment(ROOT)


def laid_over(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Nested mappings, the second one's values first."""
    return {**values, **{k: laid_over(values[k], v) if isinstance(v, dict) else v for k, v in over.items()}}


class Started:
    """A process in the background whose stderr is kept."""

    def __init__(self, command: list[str], *, folder: Path, env: dict[str, str], log: Path) -> None:
        self.log, self._said = log, folder / f"said-{os.urandom(4).hex()}.txt"
        log.unlink(missing_ok=True)
        with self._said.open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self.process.pid

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return self._said.read_text()

    def logged(self, pattern: str) -> bool:
        """Whether its log holds a line of a form; false too once it has ended."""
        return self.log.exists() and bool(re.search(pattern, self.log.read_text())) and self.process.poll() is None

    def helpers(self) -> list[int]:
        """Living Python processes that it started, without Python's own resource tracker."""
        return [
            pid
            for pid in children(self.pid)
            if alive(pid) and "python" in (line := command_line(pid)) and "resource_tracker" not in line
        ]

    def ended(self, *, seconds: float = 180) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(timeout=seconds)
