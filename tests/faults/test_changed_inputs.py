"""Data that change under a run: images and labels replaced or sorted, lists of shards edited.

What depends on them is made again, or a stage stops, or `wsss verify` reports it; nothing is silently mixed. Classes in
another order: tests/test_workflow.py, provenance/test_verify.py and seeds/test_train_classifier.py.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from wsss.files.store import MapReader
from wsss.provenance.verify import verify

from ..photographs import write_photographs
from .again import call, only_error, put, words_of

BASE = Path("results/changing")
REMAKE_INDEX = f"snakemake {BASE}/dataset/index.csv --forcerun {BASE}/dataset/index.csv"


class Photographs:
    """A folder of photographs and a run as far as its saliency maps, the cheapest stage that reads every image."""

    def __init__(self, project, folder: Path) -> None:
        self.project, self.folder, self.labels = project, folder, folder / "labels.csv"
        data = {"root": str(folder), "labels": "labels.csv", "classes": ["red", "blue"]}
        self.over = {
            "run": BASE.name,
            "methods": ["cam"],
            "segment": {"methods": []},
            "saliency": {"kind": "barrier"},
            "dataset": {"kind": "folder", "folder": data},
        }

    @property
    def maps(self) -> list[str]:
        return [
            f"{BASE}/saliency/barrier/train-{k}.h5"
            for k in range(self.over.get("compute", {}).get("shards", {}).get("train", 2))
        ]

    def run(self) -> str:
        """What Snakemake said, the run made."""
        done = self.project.snakemake(*self.maps, over=self.over)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def reruns(self) -> dict[str, int]:
        return self.project.reruns(self.over, *self.maps)


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory) -> Photographs:
    folder = tmp_path_factory.mktemp("photos") / "my photos"
    write_photographs(folder)
    for k in (0, 1):  # of a form whose size in bytes says nothing of its pixels
        Image.open(folder / f"{k}.jpg").save(folder / f"{k}.bmp")
        (folder / f"{k}.jpg").unlink()
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace("\n0.jpg", "\n0.bmp").replace("\n1.jpg", "\n1.bmp"))
    photographs = Photographs(finished, folder)
    photographs.run()
    return photographs


@pytest.fixture
def photos(made, monkeypatch) -> Photographs:
    """The run, its photographs and labels put back afterwards, with their times."""
    monkeypatch.chdir(made.project.folder)
    kept = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in made.folder.iterdir()}
    yield made
    for path, (data, time) in kept.items():
        path.write_bytes(data)
        os.utime(path, ns=(time, time))


def replace(path: Path, image: Image.Image, *, keep_time: bool) -> None:
    """Another image under the same name."""
    before = path.stat()
    image.save(path)
    if keep_time:
        os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))


def test_labels_sorted_or_saved_again_rerun_nothing(photos):
    header, *rows = photos.labels.read_text().splitlines()
    random.Random(0).shuffle(rows)
    photos.labels.write_text("\r\n".join([header, *rows]) + "\r\n\r\n")
    assert photos.reruns() == {}
    assert [str(f) for f in verify(BASE, [], images=True).findings] == []
    photos.labels.write_text("\n".join([header, *rows]).replace("3.jpg,blue", "3.jpg,red") + "\n")
    assert photos.reruns() == {"index_images": 1, "estimate_saliency": 2}


@pytest.mark.parametrize("keep_time", [False, True], ids=["new time", "time kept"])
def test_an_image_replaced_under_its_name(photos, keep_time):
    """Its size in bytes is another: seen by the next run, whatever its time says."""
    replace(
        photos.folder / "4.jpg",
        Image.open(photos.folder / "4.jpg").transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        keep_time=keep_time,
    )
    assert photos.reruns() == {"index_images": 1, "estimate_saliency": 2}


def test_verify_finds_an_image_of_the_same_bytes_and_time(photos):
    """Name, size and time say nothing: Snakemake sees no change, and the pixels' digest does."""
    path = photos.folder / "0.bmp"
    replace(path, Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT), keep_time=True)
    assert photos.reruns() == {}
    found = [str(f) for f in verify(BASE, [], images=True).findings]
    assert len(found) == 1
    assert f"{path}: found other pixels" in found[0]
    assert found[0].endswith(f"to repair: put it back as it was; or, if it is meant to be so, {REMAKE_INDEX}")


def test_the_stage_that_reads_an_image_of_another_shape_stops(photos, tmp_path):
    """As many bytes, the same time, height and width exchanged."""
    path = photos.folder / "0.bmp"
    size = path.stat().st_size
    replace(path, Image.open(path).transpose(Image.Transpose.ROTATE_90), keep_time=True)
    assert path.stat().st_size == size
    shard = next(
        k for k in (0, 1) if "0" in pd.read_csv(BASE / f"dataset/shards/train-{k}.csv", dtype=str)["image_id"].tolist()
    )
    done = call(words_of(BASE, f"saliency/barrier/train-{shard}.h5", output=tmp_path / "a.h5"))
    assert done.exit_code == 1
    assert (
        only_error(done.output)
        == f"error: {path}: found (72, 64), the index says (64, 72) (height, width); rerun index_images"
    )
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.slow
def test_a_list_of_a_shard_that_was_edited_stops_the_stage_that_reads_it(photos):
    """Through the workflow: the list is newer, so that the stage reads it, and it is not what the index wrote."""
    path = BASE / "dataset/shards/train-0.csv"
    sound = path.read_bytes()
    put(path, b"\n".join(sound.splitlines()[:-1]) + b"\n")
    failed = photos.project.snakemake(*photos.maps, over=photos.over)
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert f"error: {path}: found digest " in said
    assert f"`{REMAKE_INDEX}`, with the run's --configfile, remakes it" in said
    assert "Traceback" not in said
    repaired = photos.project.snakemake(*photos.maps, "--forcerun", f"{BASE}/dataset/index.csv", over=photos.over)
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert path.read_bytes() == sound


@pytest.mark.slow
def test_other_shards_hold_every_image_once_and_the_same_maps(photos):
    """Changing their number moves images: every map is made again, equal, and none is left out or in two files."""

    def maps() -> dict[str, np.ndarray]:
        out: dict[str, np.ndarray] = {}
        for path in photos.maps:
            with MapReader(Path(path)) as reader:
                assert not set(reader.image_ids) & set(out)
                out |= {i: reader.read(i)["saliency"] for i in reader.image_ids}
        return out

    before = maps()
    photos.over["compute"] = {"shards": {"train": 3}}
    try:
        photos.run()
        after = maps()
    finally:
        del photos.over["compute"]
        photos.run()
    assert sorted(after) == sorted(before) == sorted(map(str, range(12)))
    assert all(np.array_equal(after[i], before[i]) for i in before)
    for left in BASE.rglob("train-2.h5*"):  # of three shards; `wsss verify` names it
        left.unlink()
    assert [str(f) for f in verify(BASE, [], images=False).findings] == []


# ---------------------------------------------------------------- times of files


@pytest.fixture
def times(photos) -> list[Path]:
    """The files of the run, their times put back afterwards."""
    files = [p for p in BASE.rglob("*") if p.is_file()]
    kept = {p: p.stat().st_mtime_ns for p in files}
    yield files
    for path, time in kept.items():
        if path.is_file():
            os.utime(path, ns=(time, time))


DAY = 86_400


def test_times_alone_rerun_nothing(photos, times):
    """Copied without their times, or by machines whose clocks differ: Snakemake compares contents, too."""
    draw = random.Random(0)
    for path in times:
        at = path.stat().st_mtime + draw.uniform(-30, 30) * DAY
        os.utime(path, (at, at))
    assert photos.reruns() == {}
    assert [str(f) for f in verify(BASE, [], images=True).findings] == []
