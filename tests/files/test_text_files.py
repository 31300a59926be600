"""Text, JSON and CSV files."""

from __future__ import annotations

import csv

import pytest

from wsss.files.errors import ArtefactError
from wsss.files.index import read_classes
from wsss.files.text_files import open_text, read_json, write_csv, write_json


def test_a_missing_file_inside_the_block_is_not_blamed_on_the_file_read(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match="other"), open_text(tmp_path / "a.txt"):
        (tmp_path / "other").read_text()


def test_what_is_no_utf8_or_no_json_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"class_id,name\n0,caf\xe9\n")
    with pytest.raises(ArtefactError, match=r"a\.csv: not UTF-8"):
        read_classes(tmp_path / "a.csv")
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(ArtefactError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")


def test_json_and_csv_round_trips(tmp_path):
    value = {"b": [1, 2.5, "é"], "a": None}
    write_json(tmp_path / "new" / "a.json", value)
    assert read_json(tmp_path / "new" / "a.json") == value
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "b.json", {"loss": float("nan")})
    write_csv(tmp_path / "a.csv", ("x", "y"), [{"x": 'a,"b"\nc', "y": 1}])
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"x": 'a,"b"\nc', "y": "1"}]
    with pytest.raises(ValueError, match="z"):
        write_csv(tmp_path / "c.csv", ("x",), [{"x": 1}, {"z": 1}])
    assert {p.name for p in tmp_path.iterdir()} == {"new", "a.csv"}  # nothing of what failed
