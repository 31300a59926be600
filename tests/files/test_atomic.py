"""Atomic writes: whole or not at all, flushed, and with a reason where they fail."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from wsss.files.atomic import atomic
from wsss.files.text_files import read_json, write_csv, write_json, write_text
from wsss.runtime.disk_errors import UnwritableError


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


@pytest.mark.parametrize("flushed", [True, False])
def test_a_file_is_flushed_before_it_gets_its_name_and_its_folder_after(tmp_path, monkeypatch, flushed):
    """With `flushed` off nothing is: for thousands of images, whose list is flushed after them."""
    events, flush, rename = [], os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda d: (events.append(("flush", os.readlink(f"/proc/self/fd/{d}"))), flush(d))[1]
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(("rename", str(a), str(b))), rename(a, b))[1])
    with atomic(tmp_path / "a.txt", flushed=flushed) as temporary:
        temporary.write_text("whole")
        assert events == []
    named = ("rename", str(temporary), str(tmp_path / "a.txt"))
    assert events == ([("flush", str(temporary)), named, ("flush", str(tmp_path))] if flushed else [named])


def test_every_small_artefact_is_flushed(tmp_path, monkeypatch):
    count, flush = [0], os.fsync
    monkeypatch.setattr(os, "fsync", lambda d: (count.__setitem__(0, count[0] + 1), flush(d))[1])
    for n, write in enumerate(
        (lambda p: write_text(p, "a"), lambda p: write_json(p, 1), lambda p: write_csv(p, ("a",), []))
    ):
        write(tmp_path / str(n))
        assert count[0] == 2 * (n + 1)  # the file and its folder


def test_the_file_is_renamed_not_copied(tmp_path):
    """A copy could be cut off half-way. Who has the old file open goes on reading the old one."""
    write_text(tmp_path / "a.txt", "old")
    with (tmp_path / "a.txt").open() as reader:
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
            number = temporary.stat().st_ino
        assert (tmp_path / "a.txt").stat().st_ino == number
        assert reader.read() == "old"
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (
            errno.ENOSPC,
            r"the disk is full; [\d,]+ bytes are free in .*; make room and start again: what is finished is kept",
        ),
        (errno.EDQUOT, r"the disk quota is used up; [\d,]+ bytes are free"),
        (errno.EROFS, r"mounted read-only; make it writable and start again"),
        (errno.EACCES, "no permission to write there; make it writable"),
        (errno.EPERM, "no permission to write there; make it writable"),
        (errno.EFBIG, "it is larger than files may be; make it writable"),
        (errno.EIO, "the disk reports an error; make it writable"),
    ],
)
def test_what_keeps_a_file_from_being_written_is_said(tmp_path, monkeypatch, number, words):
    """Where the flush fails, too: a disk may report an error only then."""
    write_text(tmp_path / "a.txt", "old")

    def refuse(*_: object) -> None:
        raise OSError(number, "as the system says it")

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, refuse)
            with pytest.raises(UnwritableError, match=rf"a\.txt: cannot be written: .*{words}"):
                write_text(tmp_path / "a.txt", "new")
        assert (tmp_path / "a.txt").read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_an_error_about_another_file_is_not_blamed_on_this_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), atomic(tmp_path / "a.txt"):
        (tmp_path / "other").read_text()
    with pytest.raises(OSError, match="as it is") as caught, atomic(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "as it is", str(tmp_path / "elsewhere" / "b"))
    assert not isinstance(caught.value, UnwritableError)
