"""A small run for the tests of the workflow: its configuration, and a folder with a copy of the code to edit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .conftest import ROOT

TOY = {
    "run": "toy",
    "dataset": {"scenes": {"train": 12, "val": 4, "min_side": 64, "max_side": 80}},
    "seeds": {
        "scores": {"scales": [1.0]},
        "classifier": {
            "epochs": 1,
            "min_steps": 1,
            "batch_size": 4,
            "augment": {"crop": 64, "resize_min": 64, "resize_max": 80},
        },
        "claim": {"rel_threshold": 0.5},
        "rounds": {"count": 2},
    },
    "pseudo": {"seed": {"kind": "scores", "cue": "constant", "background": 0.05}, "refine": "none"},
    "segment": {
        "start": "classifier",
        "psl": {"test_weighting": "none", "train_weighting": "labels"},
        "train": {
            "epochs": 8,
            "min_steps": 1,
            "batch_size": 4,
            "optimiser": {"lr": 0.001},
            "augment": {"crop": 64, "resize_min": 64, "resize_max": 80},
        },
    },
    "report": {"gallery": 3},
    "compute": {"device": "cpu", "threads": 1, "workers": 0, "shards": {"train": 2}},
}

SMALL = {
    "methods": ["cam"],
    "seeds": {"classifier": {"epochs": 12}},
    "pseudo": {"seed": {"cue": "saliency"}, "refine": "crf"},
    "segment": {"methods": ["cam"], "variants": ["plain"]},
    "compute": {"shards": {"train": 1}},
}
"""One method, one shard, laid over it, for the tests of faults: saliency, and a CRF in two processes."""


class Project:
    """A copy of the workflow and the package in a folder of its own, so that tests may edit the code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("wsss", "rules", "profiles", "envs", "docs"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Snakefile", "config.yaml"):
            shutil.copy(ROOT / name, folder / name)

    @classmethod
    def at(cls, folder: Path) -> Project:
        """The one that is in a folder already."""
        project = cls.__new__(cls)
        project.folder = folder
        return project

    def command(
        self, *arguments: str, over: dict | None = None, machine: Sequence[str] = ("--cores", "2")
    ) -> list[str]:
        """Snakemake on the toy configuration; `over` is laid over it, `machine` says where jobs run."""
        config, overlay = self.folder / "toy.yaml", self.folder / "over.yaml"
        config.write_text(json.dumps(TOY))
        overlay.write_text(json.dumps(over or {}))
        return [sys.executable, "-m", "snakemake", *machine, *arguments, "--configfile", str(config), str(overlay)]

    def environment(self, *path: Path) -> dict[str, str]:
        """This project's package, then those of `path`; this Python's commands."""
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(p) for p in (self.folder, *path)),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }

    def snakemake(
        self,
        *arguments: str,
        over: dict | None = None,
        path: Sequence[Path] = (),
        machine: Sequence[str] = ("--cores", "2"),
    ) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments, over=over, machine=machine)
        return subprocess.run(
            command, cwd=self.folder, env=self.environment(*path), capture_output=True, text=True, check=False
        )

    def command_line(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A `wsss` command in the folder."""
        return subprocess.run(
            [sys.executable, "-m", "wsss", *words],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def reruns(self, over: dict | None = None, *targets: str, path: Sequence[Path] = ()) -> dict[str, int]:
        """Jobs that `snakemake -n` would run, by rule."""
        done = self.snakemake("-n", *targets, over=over, path=path)
        assert done.returncode == 0, done.stdout + done.stderr
        table = re.search(r"Job stats:\n.*?\n-+ +-+\n(.*?)\n\n", done.stdout + done.stderr, re.S)
        jobs = dict(re.findall(r"^(\w+) +(\d+)$", table.group(1), re.M)) if table else {}
        return {
            rule: int(n)
            for rule, n in jobs.items()
            if rule not in ("all", "total", "seeds", "pseudo_masks", "segmentation", "report")
        }

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
