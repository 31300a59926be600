"""Inputs that changed since their stage wrote them, and inputs from the future."""

from __future__ import annotations

import os
import time

import pytest

from wsss.files.errors import ArtefactError
from wsss.files.text_files import write_json
from wsss.provenance.input_checks import LISTED, check_inputs, warn_of_future
from wsss.provenance.records import FORMAT, file_states, own_digest, record_of


def recorded(folder, *names):
    """Files of these names with a record that covers them, and their states."""
    paths = [folder / name for name in names]
    for path in paths:
        path.write_text(path.name)
    content = {"format": FORMAT, "stage": "make", "made": "today", "products": file_states(paths)}
    write_json(record_of(paths[0]), {**content, "digest": own_digest(content)})
    return paths


def test_each_changed_file_is_named_with_the_command_that_remakes_it(tmp_path):
    paths = recorded(tmp_path, *(f"{k}.csv" for k in range(LISTED + 3)))
    check_inputs({"tables": file_states(paths)})
    for path in paths[1:]:
        path.write_text("changed")
    with pytest.raises(ArtefactError) as raised:
        check_inputs({"tables": file_states(paths)})
    lines = str(raised.value).splitlines()
    assert len(lines) == LISTED + 1
    assert lines[0].startswith(f"{paths[1]}: found digest ")
    assert f"`snakemake {paths[0]} --forcerun {paths[0]}`" in lines[0]
    assert lines[-1] == "and 2 more"


def test_without_a_record_a_file_is_taken_as_it_is(tmp_path, capsys):
    (path,) = recorded(tmp_path, "a.csv")
    path.write_text("changed")
    record_of(path).write_text("{}")
    check_inputs({"table": file_states([path])})
    assert "are used as they are" in capsys.readouterr().err
    record_of(path).unlink()
    check_inputs({"table": file_states([path])})


@pytest.mark.parametrize(("seconds", "warned"), [(3600, True), (1, False), (-3600, False)])
def test_inputs_from_the_future(tmp_path, capsys, seconds, warned):
    path = tmp_path / "a.csv"
    path.touch()
    at = time.time() + seconds
    os.utime(path, (at, at))
    warn_of_future([path, tmp_path / "missing.csv"])
    assert path.stat().st_mtime == pytest.approx(at)
    assert ("a.csv was written" in capsys.readouterr().err) is warned
