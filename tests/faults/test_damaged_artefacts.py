"""Files of a run that were damaged on disk: the stage that reads them names the repairing command and writes nothing.

Damage that leaves a file readable is found by digests: every stage compares what it reads with the records of what was
written (wsss/provenance/input_checks.py). Readers alone: tests/hostile; `wsss verify`: tests/provenance/test_verify.py.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_image
from wsss.provenance.records import record_of
from wsss.stages.dataset.image_checks import check_image
from wsss.stages.dataset.source import SourceRow
from wsss.stages.report.made import read_made

from .again import call, linked, only_error, put, words_of

ROUND, SEGMENT = "cam/seeds/round-1", "erasing/segment/psl/cycle-1"
READ_BY = {
    "dataset/index.csv": "cam/pseudo/seed/train-0.h5",
    "dataset/shards/train-0.csv": "cam/pseudo/seed/train-0.h5",
    "dataset/statistics.json": "erasing/seeds/round-2/scores/train-0.h5",
    f"{ROUND}/classifier.pt": f"{ROUND}/scores/train-0.h5",
    f"{ROUND}/training.json": f"{ROUND}/metrics.json",
    f"{ROUND}/scores/train-0.h5": f"{ROUND}/regions/train-0.h5",
    f"{SEGMENT}/segmenter.pt": f"{SEGMENT}/predictions/val-0.h5",
    f"{SEGMENT}/metrics.json": "metrics.csv",
    "metrics/cam/seed.csv": "metrics.csv",
    "metrics.csv": "report/index.html",
}
"""Files of every form that a stage reads, and a product whose stage reads it."""
UNSEEN = {"dataset/shards/train-0.csv", "dataset/index.csv", "metrics/cam/seed.csv", "metrics.csv"}
"""Tables that may be whole when the end is cut off; the record knows."""


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory) -> Path:
    """A copy of the finished run by hard links. A test that damages a file restores it."""
    return linked(finished.folder / "results/toy", tmp_path_factory.mktemp("damaged"))


@pytest.fixture
def there(run, monkeypatch) -> Path:
    """results/toy."""
    monkeypatch.chdir(run.parent.parent)
    return Path("results/toy")


def damages(path: Path) -> dict[str, bytes]:
    """Cut in the middle, one bit flipped, and, of a text, one digit that is another."""
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) * 2 // 3] ^= 4
    out = {"cut": data[: len(data) // 2], "flipped": bytes(flipped)}
    if path.suffix in (".csv", ".json"):
        last = max(m.start() for m in re.finditer(rb"[0-8]", data))
        out["another digit"] = data[:last] + bytes([data[last] + 1]) + data[last + 1 :]
    return out


def maker(path: Path) -> Path:
    """The product whose record names a file."""
    if "dataset" in path.parts:
        return Path("results/toy/dataset/index.csv")
    own = {"training.json": "classifier.pt"} | ({"metrics.json": "segmenter.pt"} if "segment" in path.parts else {})
    return path.with_name(own.get(path.name, path.name))


@pytest.mark.parametrize("damaged", READ_BY)
def test_the_stage_that_reads_a_damaged_file_names_it_and_the_command(there, tmp_path, damaged):
    path, output = there / damaged, tmp_path / "out" / Path(READ_BY[damaged]).name
    words, sound = words_of(there, READ_BY[damaged], output=output), path.read_bytes()
    try:
        for kind, data in damages(path).items():
            put(path, data)
            done = call(words)
            assert done.exit_code == 1, kind
            said = only_error(done.output)
            assert said.startswith(f"error: {path}: found digest "), kind
            command = f"`snakemake {maker(path)} --forcerun {maker(path)}`"
            assert f"{command}, with the run's --configfile, remakes it" in said
            assert not output.exists()
    finally:
        put(path, sound)


@pytest.mark.parametrize("damaged", READ_BY)
def test_without_a_record_what_is_no_whole_file_is_named_all_the_same(there, tmp_path, damaged):
    """Made by hand, or the record was lost: the file's own form and checksums are left."""
    path, output = there / damaged, tmp_path / "out" / Path(READ_BY[damaged]).name
    words, sound, record = words_of(there, READ_BY[damaged], output=output), path.read_bytes(), record_of(maker(path))
    kept = record.read_bytes()
    record.unlink()
    try:
        for kind, data in damages(path).items():
            text = path.suffix in (".csv", ".json")
            if (kind != "cut" and text) or (kind == "cut" and damaged in UNSEEN):
                continue
            put(path, data)
            done = call(words)
            if done.exit_code == 0:  # in a byte of HDF5's that nothing reads
                assert (kind, path.suffix) == ("flipped", ".h5")
                assert output.read_bytes() == (there / READ_BY[damaged]).read_bytes()
                continue
            assert str(path) in only_error(done.output), kind
            assert not output.exists()
    finally:
        put(path, sound)
        put(record, kept)


def test_a_damaged_record_is_said_where_it_is_read_and_stops_nothing(there, tmp_path):
    """Results are not made from it: the stage warns and goes on, and the report shows it."""
    path, output = record_of(there / "cam/seeds/fused/train-0.h5"), tmp_path / "train-0.h5"
    words, sound = words_of(there, "cam/pseudo/seed/train-0.h5", output=output), path.read_bytes()
    try:
        for data in (sound[:200], sound.replace(b'"host"', b'"hose"'), b"[]"):
            put(path, data)
            done = call(words)
            assert done.exit_code == 0, done.output
            assert f"warning: {path}: " in done.output
            assert output.read_bytes() == (there / "cam/pseudo/seed/train-0.h5").read_bytes()
            assert ("bad", "the record of cam/seeds/fused/train-0.h5 cannot be used") in read_made(there).faults
    finally:
        put(path, sound)


def test_a_file_edited_on_purpose_is_taken_without_its_record(there, tmp_path):
    path, output = there / "metrics/cam/seed.csv", tmp_path / "metrics.csv"
    words, sound, record = words_of(there, "metrics.csv", output=output), path.read_bytes(), record_of(path)
    kept = record.read_bytes()
    try:
        put(path, sound.replace(b",images,,12\n", b",images,,11\n"))
        assert f"To use it as it is, delete {record}" in only_error(call(words).output)
        record.unlink()
        assert call(words).exit_code == 0
        assert b",images,,11\n" in output.read_bytes()
    finally:
        put(path, sound)
        put(record, kept)


# ---------------------------------------------------------------- images


@pytest.mark.parametrize("form", ["png", "jpg", "bmp"])
def test_every_flipped_bit_of_an_image_is_found_on_reading_or_by_verify(there, tmp_path, form):
    """A JPEG may decode to other pixels: the index's digest shows it, and `wsss verify` compares it."""
    source = tmp_path / f"a.{form}"
    Image.open(there / "dataset/scenes/images/train_0001.png").save(source)
    row = SourceRow(where="", image_id="a", split="train", labels=(), image=source)
    sound, pixels, known = source.read_bytes(), read_image(source), check_image(row, num_classes=6).content
    draw = np.random.default_rng(0)
    ends = Counter[str]()
    for at in draw.integers(0, len(sound), 60):
        data = bytearray(sound)
        data[at] ^= 1 << int(draw.integers(0, 8))
        source.write_bytes(bytes(data))
        found = check_image(row, num_classes=6)
        if found.faults:
            ends["refused on reading"] += 1
            with pytest.raises(ArtefactError, match=source.name):
                read_image(source)
        else:
            changed = not np.array_equal(read_image(source), pixels)
            assert (found.content != known) == changed
            ends["found by the digest alone" if changed else "without effect"] += 1
    print(form, dict(ends))
    assert ends["refused on reading"] == 60 if form == "png" else ends["found by the digest alone"] > 30


# ---------------------------------------------------------------- through the workflow


@pytest.mark.slow
def test_the_command_that_the_message_names_repairs_the_run(finished):
    """A fragment of the metrics is damaged, its reader fails, and the command that it names restores the run."""
    base = finished.folder / "results/toy"
    path = base / "metrics/cam/seed.csv"
    whole, table = path.read_bytes(), (base / "metrics.csv").read_bytes()
    put(path, damages(path)["another digit"])
    failed = finished.snakemake("--forcerun", "collect_metrics")
    assert failed.returncode != 0
    said = next(line for line in (failed.stdout + failed.stderr).splitlines() if line.startswith("error: "))
    assert said.startswith(f"error: {path.relative_to(finished.folder)}: found digest ")
    named = shlex.split(re.search(r"`snakemake (.*?)`", said).group(1))
    repaired = finished.snakemake(*named)
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert path.read_bytes() == whole
    again = finished.snakemake()
    assert again.returncode == 0, again.stdout + again.stderr
    timeless = [
        [line for line in text.decode().splitlines() if ",timing," not in line]
        for text in ((base / "metrics.csv").read_bytes(), table)
    ]
    assert timeless[0] == timeless[1]
    assert finished.reruns() == {}


def test_figures_that_decide_on_rounds(finished):
    """Snakemake itself reads them with automatic rounds. Once the file is deleted, as it says, they are made again."""
    over = {"run": "decided", "seeds": {"rounds": {"mode": "auto", "max": 2}}, "segment": {"methods": []}}
    path = finished.folder / "results/decided/cam/seeds/round-1/metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"final_loss": "low"}))
    failed = finished.snakemake("-n", "seeds", over=over)
    assert failed.returncode != 0
    expected = f"{path.relative_to(finished.folder)}: final_loss: found 'low', expected a valid number; delete it"
    assert expected in failed.stdout + failed.stderr
    path.unlink()
    assert "train_classifier" in finished.reruns(over, "seeds")
