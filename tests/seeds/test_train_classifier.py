"""The stage: equal runs, what makes it start again, erasing, and a kill in the middle."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny_set import write_tiny_set
from wsss.files.errors import ArtefactError
from wsss.files.index import ImageIndex
from wsss.files.store import MapWriter
from wsss.files.text_files import read_json
from wsss.methods import load_method
from wsss.nets.checkpoints import load_network
from wsss.settings.sections import ComputeSection
from wsss.settings.stage_settings import ClassifierSettings
from wsss.stages.seeds.earlier import Erased
from wsss.stages.seeds.train_classifier import SaliencyPlane, identity, initial_network, train_classifier

SIZE = (36, 44)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    images = {}
    for k in range(10):
        image_u8 = generator.integers(0, 60, (*SIZE, 3), dtype=np.uint8)
        image_u8[8:20, 10:30, k % 3] += 150
        images[f"i{k}"] = (image_u8, [1 + k % 3])
    return write_tiny_set(tmp_path, images)[0]


def settings(*, backbone: dict | None = None, **classifier: object) -> ClassifierSettings:
    net = {"name": "test_resnet", "weights": "none", "freeze_batchnorm": False, **(backbone or {})}
    training = {
        "epochs": 3,
        "min_steps": 1,
        "batch_size": 5,
        "augment": {"crop": 32, "resize_min": 32, "resize_max": 44},
        "optimiser": {"lr": 0.003},
        **classifier,
    }
    return ClassifierSettings.model_validate({"kind": "erasing", "backbone": net, "classifier": training})


def train(
    index: Path, folder: Path, *, workers: int = 0, regions: list[Path] | None = None, **options: object
) -> tuple[bytes, dict]:
    given = options.pop("settings", None) or settings()
    compute = ComputeSection(device="cpu", threads=1, workers=workers)
    output, record = folder / "classifier.pt", folder / "training.json"
    train_classifier(
        index=index,
        regions=regions or [],
        saliency=[],
        settings=given,
        compute=compute,
        output=output,
        record=record,
        **options,
    )  # type: ignore[arg-type]
    return output.read_bytes(), read_json(record)


def write_regions(path: Path, index: Path, region: np.ndarray) -> Path:
    with MapWriter(path, stage="claim_regions", settings={}) as writer:
        for row in ImageIndex(index).split("train"):
            writer.write(row.image_id, row.class_ids, regions=region[None])
    return path


def test_equal_runs_are_equal_files(index: Path, tmp_path: Path) -> None:
    first, record = train(index, tmp_path / "a")
    second, again = train(index, tmp_path / "b", workers=1)
    assert first == second
    assert [e["loss"] for e in record["loss_curve"]] == [e["loss"] for e in again["loss_curve"]]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["classifier.pt", "training.json"]
    state, meta = load_network(tmp_path / "a" / "classifier.pt")
    assert meta["classes"] == ["background", "class1", "class2", "class3"]
    assert ClassifierSettings.model_validate(meta["settings"]) == settings()
    assert state["head.weight"].shape == (3, 96, 1, 1)


def test_another_seed_or_round_is_another_network(index: Path) -> None:
    method = load_method("cam")
    base = settings()
    heads = [
        initial_network(method, num_classes=3, settings=s, previous=None).head.weight
        for s in (base, base, base.model_copy(update={"seed": 1}), base.model_copy(update={"round": 2}))
    ]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert not torch.equal(heads[0], heads[3])


def test_training_sees_the_erased_images(index: Path, tmp_path: Path) -> None:
    nothing = write_regions(tmp_path / "nothing.h5", index, np.zeros(SIZE, bool))
    everything = write_regions(tmp_path / "everything.h5", index, np.ones(SIZE, bool))
    plain, record = train(index, tmp_path / "a")
    assert train(index, tmp_path / "b", regions=[nothing])[0] == plain
    erased, blind = train(index, tmp_path / "c", regions=[nothing, everything])
    assert erased != plain
    assert blind["final_loss"] > record["final_loss"] + 0.02  # nothing is left to learn from


def command_line(index: Path, folder: Path, given: ClassifierSettings, *more: object) -> list[str]:
    """The stage on the command line."""
    compute = '{"device":"cpu","threads":1,"workers":0}'
    words = [
        "train_classifier",
        "--index",
        index,
        "--regions",
        "--saliency",
        "--settings",
        given.model_dump_json(),
        "--compute",
        compute,
    ]
    words += ["--output", folder / "classifier.pt", "--record", folder / "training.json", *more]
    return [sys.executable, "-m", "wsss", *map(str, words)]


def wait_for(path: Path, process: subprocess.Popen) -> None:
    until = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.01)


def test_a_kill_in_the_middle_changes_nothing(index: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SIGKILL during epoch 2 or later; the same command then ends with the bytes of an uninterrupted run."""
    given = settings(
        epochs=5, batch_size=2, augment={"crop": 128, "resize_min": 100, "resize_max": 128}
    )  # an epoch is long enough to be caught in
    folder = tmp_path / "killed"
    with subprocess.Popen(command_line(index, folder, given), stderr=subprocess.DEVNULL) as process:
        wait_for(folder / ".resume" / "classifier.pt", process)
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "classifier.pt").exists()
    with caplog.at_level("INFO", logger="wsss"):
        resumed, record = train(index, folder, settings=given)
    assert "resuming after epoch" in caplog.text
    whole, uninterrupted = train(index, tmp_path / "whole", settings=given)
    assert resumed == whole
    assert [e["loss"] for e in record["loss_curve"]] == [e["loss"] for e in uninterrupted["loss_curve"]]
    assert sorted(p.name for p in folder.iterdir()) == ["classifier.pt", "training.json"]


def test_a_resume_file_and_a_network_of_another_class_order_are_never_used(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    """With one label for each image, another order of classes.csv leaves the index as it is.

    So the resume file depends on classes.csv itself.
    """
    # as if killed right before
    monkeypatch.setattr("wsss.stages.seeds.train_classifier.keep_or_finish", lambda resume: None)
    train(index, tmp_path / "a", settings=settings(epochs=1))
    assert (tmp_path / "a" / ".resume" / "classifier.pt").exists()
    table = index.parent / "classes.csv"
    table.write_text(table.read_text().replace("class1", "x").replace("class2", "class1").replace("x", "class2"))
    caplog.set_level("INFO", "wsss")
    again, _ = train(index, tmp_path / "a", settings=settings(epochs=1))
    assert "belongs to other settings, code, inputs" in caplog.text
    assert again == train(index, tmp_path / "b", settings=settings(epochs=1))[0]
    table.write_text(table.read_text().replace("class1", "x").replace("class2", "class1").replace("x", "class2"))
    second = settings(epochs=1).model_copy(update={"round": 2})
    with pytest.raises(
        ArtefactError,
        match="network of the classes class2, class1, class3, expected class1, class2, class3, in this order",
    ):
        train(index, tmp_path / "c", settings=second, previous=tmp_path / "b" / "classifier.pt")


def test_two_processes_have_one_log_and_stop_at_one_signal(index: Path, tmp_path: Path) -> None:
    """SIGTERM to the command alone stops both of its processes; one line is said, and one process writes."""
    given = settings(
        backbone={"freeze_batchnorm": True},
        epochs=8,
        batch_size=2,
        augment={"crop": 128, "resize_min": 100, "resize_max": 128},
    )
    command = command_line(index, tmp_path / "a", given, "--devices", 2, "--log", tmp_path / "a.log")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(tmp_path / "a" / ".resume" / "classifier.pt", process)
        process.send_signal(signal.SIGTERM)
        told = process.communicate()[1]
    assert process.returncode == 1
    assert re.fullmatch(
        r"error: stopped by SIGTERM (in epoch \d, step \d of 5|after epoch \d); start again to go on from there\n", told
    )
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [".resume"]
    assert "train_classifier: stopped after" in (tmp_path / "a.log").read_text().splitlines()[-1]
    again = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True)
    assert again.stderr == ""
    lines = [line.split(" ", 2)[2] for line in (tmp_path / "a.log").read_text().splitlines()]
    assert lines[0].startswith("train_classifier: wsss")
    assert lines[-1].startswith("train_classifier: done in")
    assert "2 processes share each batch of 2 images" in lines
    assert len([line for line in lines if line.startswith("resuming after")]) == 1
    epochs = [line.partition(":")[0] for line in lines if re.match(r"epoch \d/8: loss", line)]
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == "epoch 8/8"
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "classifier.pt",
        "classifier.pt.provenance.json",
        "training.json",
    ]
    assert read_json(tmp_path / "a" / "training.json")["processes"] == 2


def test_what_a_resume_file_belongs_to(index: Path) -> None:
    rows = ImageIndex(index).split("train")
    compute = ComputeSection(device="cpu", threads=1, workers=0)
    same = identity(settings(), compute=compute, rows=rows)
    assert identity(settings(), compute=compute.model_copy(update={"workers": 3}), rows=rows) == same
    others = {
        identity(settings(), compute=compute.model_copy(update={"threads": 2}), rows=rows),
        identity(settings(epochs=4), compute=compute, rows=rows),
        identity(settings().model_copy(update={"kind": "cam"}), compute=compute, rows=rows),
    }
    os.utime(rows[0].image, (1, 1))
    others.add(identity(settings(), compute=compute, rows=rows))
    assert len(others | {same}) == 5


def test_a_failed_training_leaves_no_product(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lower optimiser"):
        train(
            index,
            tmp_path / "a",
            settings=settings(optimiser={"kind": "sgd", "lr": 10, "head_lr_factor": 1000}, epochs=20),
        )
    assert not (tmp_path / "a" / "classifier.pt").exists()
    assert not (tmp_path / "a" / "training.json").exists()


def test_a_given_start_must_fit(index: Path, tmp_path: Path) -> None:
    train(index, tmp_path / "one", settings=settings(epochs=1))
    second = settings(epochs=1).model_copy(update={"round": 2})
    train(index, tmp_path / "two", settings=second, previous=tmp_path / "one" / "classifier.pt")
    other = settings(epochs=1, backbone={"name": "test_efficientnet"}).model_copy(update={"round": 2})
    with pytest.raises(ArtefactError, match="another network"):
        train(index, tmp_path / "three", settings=other, previous=tmp_path / "one" / "classifier.pt")


def test_the_record_is_plain_json(index: Path, tmp_path: Path) -> None:
    record = train(index, tmp_path, settings=settings(epochs=1, loss="squared"))[1]
    assert set(record) >= {"loss_curve", "final_loss", "seconds", "peak_memory_mb"}
    assert set(record["loss_curve"][0]) == {"epoch", "loss", "classification", "seconds"}
    assert json.loads(json.dumps(record)) == record


# ---------------------------------------------------------------- what earlier rounds claimed


def test_erased_is_the_union_over_rounds_and_classes(index: Path, tmp_path: Path) -> None:
    rows = ImageIndex(index).split("train")
    paths = []
    for k, corner in enumerate([(0, 0), (5, 7)]):
        region = np.zeros((2, *SIZE), bool)
        region[k][corner] = True
        region[1, 9, 9] = k == 0
        paths.append(tmp_path / f"{k}.h5")
        with MapWriter(paths[-1], stage="claim_regions", settings={}) as writer:
            writer.write(rows[0].image_id, [1, 2], regions=region)
    found = Erased(paths)(rows[0])
    assert found is not None
    assert sorted(map(tuple, np.argwhere(found).tolist())) == [(0, 0), (5, 7), (9, 9)]
    assert Erased([])(rows[0]) is None
    with pytest.raises(ArtefactError, match=f"image {rows[1].image_id} is in none of"):
        Erased(paths)(rows[1])


def test_regions_of_another_size_are_refused(index: Path, tmp_path: Path) -> None:
    path = write_regions(tmp_path / "a.h5", index, np.zeros((3, 4), bool))
    with pytest.raises(ArtefactError, match=r"regions of \(3, 4\), expected \(36, 44\)"):
        Erased([path])(ImageIndex(index).split("train")[0])


def test_saliency_becomes_a_share(index: Path, tmp_path: Path) -> None:
    row = ImageIndex(index).split("train")[0]
    with MapWriter(tmp_path / "s.h5", stage="estimate_saliency", settings={}) as writer:
        writer.write(row.image_id, [], saliency=np.array([[0, 51, 255]], np.uint8))
    plane = SaliencyPlane([tmp_path / "s.h5"])(row)
    assert plane.dtype == np.float32
    np.testing.assert_allclose(plane, [[0, 0.2, 1]])
