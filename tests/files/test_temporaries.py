"""Whose temporary file it is, and whether it may go."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from wsss.files.atomic import atomic
from wsss.files.temporaries import LONGEST_WRITE, process_start, remove_leftovers, temporary_of, writer_lives

NOBODY = 99_999_999


def test_what_a_living_process_writes_stays(tmp_path):
    with atomic(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        assert temporary == temporary_of(tmp_path / "a.json")
        assert writer_lives(temporary) is True
        remove_leftovers(tmp_path)
        temporary.write_text("whole")
    assert (tmp_path / "a.json").read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_a_dead_one_left_goes_from_every_folder_below(tmp_path):
    for name in ("a.h5", ".resume/a.safetensors", "masks/train/a.png"):
        left = temporary_of(tmp_path / name, pid=NOBODY)
        left.parent.mkdir(parents=True, exist_ok=True)
        left.touch()
        assert writer_lives(left) is False
    others = [tmp_path / name for name in ("a.tmp-1", ".b.tmp-old", ".c.tmp-17")]
    for other in others:
        other.touch()
        os.utime(other, (0, 0))
    remove_leftovers(tmp_path, below=False)
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == len(others) + 2
    remove_leftovers(tmp_path)
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == {*others}


def test_another_machines_file_goes_after_a_day(tmp_path):
    name = ".a.h5.tmp-00000000-17"
    (tmp_path / name).touch()
    assert writer_lives(tmp_path / name) is None
    remove_leftovers(tmp_path)
    assert (tmp_path / name).exists()
    past = time.time() - LONGEST_WRITE - 60
    os.utime(tmp_path / name, (past, past))
    remove_leftovers(tmp_path)
    assert not (tmp_path / name).exists()


def test_a_process_that_has_ended_writes_no_more(tmp_path):
    """Also while nobody has waited for it."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left = temporary_of(tmp_path / "a", pid=process.pid)
    assert writer_lives(left) is True
    start = process_start(process.pid)
    assert start == process_start(process.pid) != ""
    process.kill()
    end = time.monotonic() + 10
    while writer_lives(left) and time.monotonic() < end:
        time.sleep(0.01)
    assert writer_lives(left) is False
    assert process_start(process.pid) == ""
    process.wait()


@pytest.mark.parametrize("length", [200, 220, 221, 251])
def test_temporary_names_are_never_too_long(tmp_path, length):
    """Image ids have up to 200 bytes; photographs that `wsss predict` is given, what the file system allows."""
    path = tmp_path / ("i" * length + ".png")
    with atomic(path) as temporary:
        temporary.write_bytes(b"x")
    assert list(tmp_path.iterdir()) == [path]
