"""The command line: names, options from signatures, one message for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from wsss.cli.main import main
from wsss.cli.stage_commands import stage_command
from wsss.files.store import MapWriter
from wsss.workflow.stages import STAGES

from ..conftest import ROOT


def call(*arguments: str):
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def test_rules_modules_functions_and_subcommands_have_one_name():
    rules = set()
    for path in (ROOT / "rules").glob("*.smk"):
        rules |= {
            line.split()[1].rstrip(":")
            for line in path.read_text().splitlines()
            if line.startswith(("rule ", "checkpoint "))
        }
    assert rules == set(STAGES)
    for stage, entry in STAGES.items():
        assert (ROOT / "wsss" / "stages" / entry.folder / f"{stage}.py").is_file()
        assert stage_command(stage).name == stage


@pytest.mark.parametrize("stage", STAGES)
def test_every_option_of_a_stage_is_explained(stage):
    undocumented = [p.name for p in stage_command(stage).params if not getattr(p, "help", "")]
    assert undocumented == []


def test_help_imports_no_torch():
    code = (
        "import sys; from click.testing import CliRunner; from wsss.cli.main import main; "
        "CliRunner().invoke(main, ['--help']); print('torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


def test_config_command_checks_and_refuses(tmp_path):
    assert call("config", "--check").output.strip() == "ok"
    (tmp_path / "x.yaml").write_text("seedz: 1")
    result = call("config", tmp_path / "x.yaml")
    assert result.exit_code == 1
    assert "did you mean 'seed'?" in result.output


def test_config_command_marks_what_an_overlay_changes(tmp_path):
    (tmp_path / "x.yaml").write_text("seed: 3\nsegment: {train: {epochs: 9}}")
    lines = call("config", tmp_path / "x.yaml").output.splitlines()
    assert [line.split(" #")[0].strip() for line in lines if "# default " in line] == ["seed: 3", "epochs: 9"]
    assert "as the given files set it" in lines[0]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_without_its_options_names_one(stage):
    result = call(stage)
    assert result.exit_code == 2
    assert "Missing option '--" in result.output


def test_list_options_take_any_number_of_words_none_too(tmp_path):
    run = call(
        "collect_metrics",
        "--fragments",
        "--settings",
        "{}",
        "--output",
        tmp_path / "m.csv",
        "--log",
        tmp_path / "l.log",
    )
    assert run.exit_code in (0, 1)
    assert "No such option" not in run.output


def test_bad_settings_are_one_message(tmp_path):
    result = call(
        "claim_regions",
        "--index",
        "i",
        "--shard",
        "s",
        "--scores",
        "x",
        "--settings",
        '{"claim": {"rel_treshold": 1}}',
        "--output",
        tmp_path / "o.h5",
    )
    assert result.exit_code == 1
    assert result.output.count("\n") <= 3
    assert "rel_threshold" in result.output


def test_a_missing_input_names_the_file_and_leaves_nothing(tmp_path):
    result = call(
        "claim_regions",
        "--index",
        tmp_path / "index.csv",
        "--shard",
        "s",
        "--scores",
        "x",
        "--output",
        tmp_path / "o.h5",
        "--log",
        tmp_path / "l.log",
    )
    assert result.exit_code == 1
    assert "classes.csv: no such file" in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["l.log"]
    assert "stopped" in (tmp_path / "l.log").read_text()


@pytest.fixture
def stored(tmp_path) -> Path:
    path = tmp_path / "maps.h5"
    with MapWriter(path, stage="extract_scores", settings={"a": 1}) as writer:
        writer.write("one", [1, 3], scores=np.array([[[0.0, 2.0]], [[-1.0, 1.0]]], np.float16))
    return path


def test_info_reads_every_checksum(stored):
    result = call("info", stored)
    assert "stage extract_scores, 1 images" in result.output
    assert "values -1 to 2" in result.output
    raw = bytearray(stored.read_bytes())
    at = raw.find(np.array([2.0], np.float16).tobytes(), 2000)
    raw[at] ^= 1
    stored.write_bytes(raw)
    broken = call("info", stored)
    assert broken.exit_code == 1
    assert "maps.h5" in broken.output


@pytest.mark.parametrize(
    ("kind", "names"), [("png", {"one.scores.class-1.png", "one.scores.class-3.png"}), ("npy", {"one.scores.npy"})]
)
def test_unpack_writes_ordinary_files(stored, tmp_path, kind, names):
    assert call("unpack", stored, "-o", tmp_path / "out", "--format", kind).exit_code == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == names


def test_settings_may_come_from_a_file(tmp_path):
    (tmp_path / "s.yaml").write_text(json.dumps({"claim": {"rel_threshold": 2.0}}))
    result = call(
        "claim_regions",
        "--index",
        "i",
        "--shard",
        "s",
        "--scores",
        "x",
        "--settings",
        f"@{tmp_path / 's.yaml'}",
        "--output",
        tmp_path / "o.h5",
    )
    assert "--settings.claim.rel_threshold: found 2.0" in result.output


def test_nobody_is_told_to_delete_what_is_no_file_of_a_run(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "notes.md").write_text("mine")
    for name in ("photos", "notes.md"):
        done = call("info", tmp_path / name)
        assert done.exit_code != 0
        assert "expected a run's .h5 file" in done.output
        assert "snakemake --forcerun" not in done.output
