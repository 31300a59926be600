"""Files are written whole or not at all."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from wsss.files.atomic import atomic
from wsss.files.text_files import read_json, write_json, write_text


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), atomic(tmp_path / "a.txt") as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_the_name_appears_when_the_block_has_ended(tmp_path):
    with atomic(tmp_path / "x" / "a.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "x" / "a.txt").exists()
        assert temporary.parent == tmp_path / "x"
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["a.txt"]


def killed_half_way(path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps({"half": 1})[:5])
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"old": 1})
    process = multiprocessing.get_context("fork").Process(target=killed_half_way, args=(tmp_path / "a.json",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert list(tmp_path.glob("*.json")) == [tmp_path / "a.json"]  # the half file has another ending
