"""The package's own JSON files: another shape is one clear error."""

from __future__ import annotations

import json

import pytest

from wsss.files.errors import ArtefactError
from wsss.files.json_files import Figures, ShardProposals, StopFigures, read_checked, read_instances

FIGURES = {"loss_curve": [{"epoch": 1, "loss": 0.5}], "final_loss": 0.5, "new_area": 0.1, "more": "x"}
INSTANCE = {"category_id": 1, "segmentation": {"size": [2, 2], "counts": "0"}, "score": 0.5}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        *((Figures, content) for content in ([], 5, None, "x", {"loss_curve": 3}, {"loss_curve": [[1, 2]]})),
        *((Figures, content) for content in ({"final_loss": "0.5"}, {"seconds": [1]}, {"loss_curve": [{"epoch": 1}]})),
        *((StopFigures, content) for content in ({}, {"final_loss": 1.0}, {"final_loss": 1.0, "new_area": 1.5})),
        *((ShardProposals, content) for content in ([], 3, {"a": 3})),
    ],
)
def test_another_shape_is_named(tmp_path, kind, content):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match=rf"{path}: .*found .*, expected .*; do this"):
        read_checked(path, kind, remedy="do this")


def test_a_sound_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(FIGURES))
    assert read_checked(path, Figures) == read_checked(path, StopFigures) == FIGURES
    path.write_text(json.dumps({"a": [INSTANCE], "b": []}))
    assert read_instances(path, num_classes=1) == {"a": [INSTANCE], "b": []}


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (3, r"a\.0: found 3"),
        ({}, r"a\.0\.category_id: found nothing"),
        ({**INSTANCE, "category_id": 2}, r"a\.0\.category_id: found 2, expected 1\.\.1"),
        ({**INSTANCE, "category_id": "1"}, r"a\.0\.category_id: found '1'"),
        ({**INSTANCE, "score": None}, r"a\.0\.score: found None"),
        ({**INSTANCE, "segmentation": []}, r"a\.0\.segmentation: found \[\]"),
    ],
)
def test_instances_of_another_shape(tmp_path, entry, found):
    path = tmp_path / "train-0.json"
    path.write_text(json.dumps({"a": [entry]}))
    with pytest.raises(ArtefactError, match=rf"train-0\.json: {found}"):
        read_instances(path, num_classes=1)
