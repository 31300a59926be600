"""Every product of a configuration: as the rules have it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from wsss.cli.stage_commands import load_stage
from wsss.files.text_files import write_json
from wsss.provenance.catalogue import catalogue, rounds_of_run
from wsss.settings.config import load
from wsss.workflow.graph import Graph
from wsss.workflow.stages import STAGES, find_job

from ..conftest import ROOT


@pytest.mark.parametrize("overlay", ["scenes_all", "scenes_instances"])
def test_settings_are_what_the_rules_pass(overlay, tmp_path):
    """The options of every job of a dry run, parsed as the stage parses them."""
    more = tmp_path / "more.yaml"
    more.write_text("evaluate: {full_supervision: true}\nbackbone: {weights: none}")
    files = [str(ROOT / "configs" / f"{overlay}.yaml"), str(more)]
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-n",
        "-p",
        "--cores",
        "1",
        "--workflow-profile",
        "none",
        "-s",
        str(ROOT / "Snakefile"),
        "-d",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*command, "all", "--configfile", *files],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    config = load(ROOT / "config.yaml", *(Path(f) for f in files))
    graph = Graph(config)
    found = catalogue(config, rounds={m: graph.max_rounds(m) for m in config.methods})
    passed = dict(
        passed_settings(line, base=graph.base)
        for line in re.findall(r"^Shell command: (wsss \w+ .*)$", done.stdout + done.stderr, re.M)
    )
    assert passed.keys() == found.keys()
    for path, settings in passed.items():
        assert settings == found[path].settings, path


def passed_settings(line: str, *, base: str) -> tuple[str, dict]:
    """(output within the run, settings by parameter) of a job's shell command."""
    stage, *words = shlex.split(line)[1:]
    given = {words[k].removeprefix("--"): words[k + 1] for k in range(len(words) - 1) if words[k].startswith("--")}
    hints = get_type_hints(load_stage(stage))
    models = {
        k: hints[k].model_validate_json(given[k]).model_dump(mode="json")
        for k in ("settings", "compute", "row")
        if k in given
    }
    if "compute" in models:
        models["compute"] = {k: models["compute"][k] for k in ("precision", "threads")}
    return str(Path(given["output"]).relative_to(base)), models


def test_every_output_belongs_to_one_stage():
    config = load(ROOT / "config.yaml", ROOT / "configs/scenes_instances.yaml")
    for path in catalogue(config, rounds={m: Graph(config).max_rounds(m) for m in config.methods}):
        assert sum(stage.job(path) is not None for stage in STAGES.values()) == 1, path
    with pytest.raises(ValueError, match=r"notes\.txt: no stage's output"):
        find_job("notes.txt")


def test_settings_are_those_of_the_owner_and_the_method():
    config = load(
        {
            "methods": ["cam", "tight"],
            "segment": {"methods": []},
            "recipes": {
                "tight": {"kind": "erasing", "seeds": {"claim": {"rel_threshold": 0.7}, "rounds": {"count": 2}}}
            },
        }
    )
    found = catalogue(config, rounds={"cam": 1, "tight": 2})
    assert "cam/seeds/round-1/classifier.safetensors" in found
    assert "tight/seeds/round-1/classifier.safetensors" not in found
    assert found["tight/seeds/round-1/regions/train-0.h5"].settings["settings"]["claim"]["rel_threshold"] == 0.7
    assert found["cam/seeds/round-1/regions/train-0.h5"].settings["settings"]["claim"]["rel_threshold"] == 0.85
    assert (
        found["cam/seeds/round-1/classifier.safetensors"].code
        != found["tight/seeds/round-2/classifier.safetensors"].code
    )


def test_automatic_rounds_are_read_from_what_was_measured(tmp_path):
    policy = {"rule": "loss", "loss_ratio": 1.5}
    config = load({"methods": ["erasing"], "seeds": {"rounds": {"mode": "auto", "max": 4, "stop": policy}}})
    graph, seen = Graph(config), []
    for r, loss in ((1, 1.0), (2, 1.2), (3, 2.0)):
        seen.append(rounds_of_run(config, run=tmp_path)["erasing"])
        write_json(
            tmp_path / Path(graph.round_metrics("erasing", r)).relative_to(graph.base),
            {"new_area": 0.5, "final_loss": loss},
        )
    assert seen == [1, 2, 3]  # the round that is still missing
    assert rounds_of_run(config, run=tmp_path) == {"erasing": 2}  # the third's loss ends the rounds without it
    assert rounds_of_run(load({"methods": ["cam"], "segment": {"methods": []}}), run=tmp_path) == {"cam": 1}
