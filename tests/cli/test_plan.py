"""What `wsss plan` says of a run before it starts."""

from __future__ import annotations

import json

from click.testing import CliRunner

from wsss.__main__ import main
from wsss.files.index import INDEX_COLUMNS
from wsss.files.text_files import write_csv


def plan(folder, monkeypatch, **values):
    monkeypatch.chdir(folder)
    (folder / "mine.yaml").write_text(
        json.dumps(
            {
                "run": "mine",
                "dataset": {"kind": "folder", "folder": {"root": "photos", "labels": "labels.csv"}},
                **values,
            }
        )
    )
    return CliRunner().invoke(main, ["plan", "--no-probe", "mine.yaml"], catch_exceptions=False)


def test_a_missing_list_is_named_with_its_section(tmp_path, monkeypatch):
    done = plan(tmp_path, monkeypatch)
    assert done.exit_code != 0
    assert "photos/labels.csv: No such file or directory; check the paths under dataset.folder" in done.output


def test_images_of_an_earlier_runs_index_are_said_to_be_so(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "labels.csv").write_text("image,labels\na.jpg,cat\nb.jpg,dog\n")
    fresh = plan(tmp_path, monkeypatch).output
    assert "2 training and 0 validation images" in fresh
    assert "earlier run" not in fresh
    dataset = tmp_path / "results" / "mine" / "dataset"
    dataset.mkdir(parents=True)
    write_csv(dataset / "index.csv", INDEX_COLUMNS, [])
    write_csv(
        dataset / "classes.csv",
        ["class_id", "name"],
        [{"class_id": 0, "name": "background"}, {"class_id": 1, "name": "cat"}],
    )
    later = plan(tmp_path, monkeypatch).output
    assert "0 training" in later
    assert "results/mine/dataset/index.csv of an earlier run" in later


def test_coco_is_counted_by_its_own_images_and_labels(tmp_path, monkeypatch):
    """1,000 images of 480 x 640 with 2.9 classes each.

    5.6 kB of score maps on a grid of 1,200 cells, and 2.9 MB of six responses at full resolution.
    """
    (tmp_path / "annotations").mkdir()
    content = {"images": [{"id": k} for k in range(1000)], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "annotations" / "instances_train2014.json").write_text(json.dumps(content))
    dataset = {"kind": "coco", "coco": {"root": str(tmp_path), "val_annotations": ""}}
    said = plan(
        tmp_path, monkeypatch, dataset=dataset, methods=["prm"], instances={"methods": ["prm"]}, segment={"methods": []}
    ).output
    disk = {line.split()[0]: line.split()[2:] for line in said.splitlines() if len(line.split()) > 2}
    assert "1000 training and 0 validation images" in said
    assert disk["extract_scores"] == ["5.6", "MB"]
    assert disk["respond_peaks"] == ["2.9", "GB"]
    assert disk["index_images"] == ["12.3", "MB"]
