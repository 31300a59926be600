"""Results that would be silently wrong: a loss that is no number, classes that vanish, masks of background alone.

Each stops with a reason, or is named in the report. The loop itself: tests/training/test_loop.py; the guards one by
one: tests/pseudo, tests/segment and tests/evaluate.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from wsss.files.provenance_files import record_of
from wsss.files.store import MapReader, MapWriter
from wsss.nets.checkpoints import load_network
from wsss.stages.report.jobs import log_warnings

from .again import call, contents, linked, only_error, words_of

CLASSIFIER = "cam/seeds/round-1/classifier.safetensors"


def broken_weights(run: Path, path: Path) -> str:
    """Weights of the backbone one of which is no number: the loss is none either."""
    state, _ = load_network(run / CLASSIFIER)
    prefix = next(k for k in state if k.endswith("conv_stem.weight")).removesuffix("conv_stem.weight")
    weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    weights["conv_stem.weight"][0, 0, 0, 0] = float("nan")
    torch.save(weights, path)
    return str(path)


@pytest.fixture
def there(finished, tmp_path, monkeypatch) -> Path:
    """results/toy of a copy of the finished run by hard links; stages replace files."""
    monkeypatch.chdir(linked(finished.folder / "results/toy", tmp_path).parent.parent)
    return Path("results/toy")


def again(there: Path, product: str, **settings) -> str:
    """What the stage of a product says, that has to succeed."""
    done = call(
        words_of(
            there,
            product,
            output=there / product,
            log=there / "logs" / "again" / f"{product.removeprefix('metrics/').replace('/', '-')}.log",
            **settings,
        )
    )
    assert done.exit_code == 0, done.output
    return done.output


def test_a_loss_that_is_no_number_stops_the_training_and_leaves_nothing(there, tmp_path):
    settings = {"backbone": {"weights": broken_weights(there, tmp_path / "weights.pth")}}
    done = call(words_of(there, CLASSIFIER, output=tmp_path / "new" / "classifier.safetensors", settings=settings))
    assert done.exit_code == 1
    assert only_error(done.output).startswith("error: the loss is nan in epoch 1, step 1 ")
    assert contents(tmp_path / "new") == {}


def test_a_loss_that_explodes_is_said_and_stands_in_the_report(there):
    """Finite, in a training of a single epoch: the first step's loss tells."""
    said = again(there, CLASSIFIER, settings={"classifier": {"optimiser": {"lr": 10.0, "head_lr_factor": 1000.0}}})
    assert "in the first step to " in said
    assert "the training has diverged; lower optimiser.lr" in said
    again(there, "report/index.html")
    assert "the training has diverged; lower optimiser.lr" in (there / "report/index.html").read_text()


def test_masks_of_background_alone_stop_the_run(there, tmp_path):
    done = call(
        words_of(there, "cam/pseudo/seed/train-0.h5", output=tmp_path / "a.h5", settings={"seed": {"background": 1.0}})
    )
    assert done.exit_code == 1
    said = only_error(done.output)
    assert "make_seeds: 6 of 6 images with labels have a mask without any class" in said
    assert "Check pseudo.seed.background" in said
    assert not (tmp_path / "a.h5").exists()


def without(path: Path, class_id: int) -> None:
    """A store file whose maps of a class are 0 everywhere, as a network that has not learnt it may give them."""
    with MapReader(path) as reader:
        records, settings, stage = [reader.read(i) for i in reader.image_ids], reader.settings, reader.stage
    with MapWriter(path, stage=stage, settings=settings) as writer:
        for r in records:
            writer.write(
                r.image_id,
                r.class_ids,
                scores=np.where((r.class_ids == class_id)[:, None, None], 0, r["scores"]).astype(np.float16),
            )
    record_of(path).unlink()


def test_a_class_that_vanishes_stands_in_metrics_and_report(there):
    """Score maps of one class are 0 everywhere; every stage after them is run again."""
    name = pd.read_csv(there / "dataset/classes.csv")["name"][1]
    for k in (0, 1):
        without(there / f"cam/seeds/round-1/scores/train-{k}.h5", 1)
        for product in ("cam/seeds/round-1/regions", "cam/seeds/fused", "cam/pseudo/seed", "cam/pseudo/plain/cycle-0"):
            again(there, f"{product}/train-{k}.h5")
    said = again(there, "metrics/cam/seed.csv") + again(there, "metrics/cam/pseudo-plain-cycle-0.csv")
    assert said.count(f"no pixel of {name}") == 2
    again(there, "cam/seeds/round-1/metrics.json")
    again(there, "metrics.csv")
    again(there, "report/index.html")
    table = pd.read_csv(there / "metrics.csv")
    rows = table[(table["method"] == "cam") & (table["metric"] == "warning_empty_class") & (table["class"] == name)]
    assert set(rows["stage"]) == {"seed", "pseudo"}
    page = (there / "report/index.html").read_text()
    assert f"no pixel of {name}" in page
    assert any(f"no pixel of {name}" in line for line in log_warnings(there / "logs", methods=["cam"]))


def test_predictions_of_background_alone_stand_in_metrics_and_report(there):
    """A segmenter may have learnt nothing: a warning at once, in the table, and in the report."""
    path = there / "erasing/segment/psl/cycle-1/predictions/val-0.h5"
    with MapReader(path) as reader:
        records, settings = [reader.read(i) for i in reader.image_ids], reader.settings
    with MapWriter(path, stage="predict_masks", settings=settings) as writer:
        for r in records:
            writer.write(r.image_id, [0], mask=np.zeros_like(r["mask"]), probs=r["probs"][:1])
    record_of(path).unlink()
    assert "all 4 masks are background or unlabelled" in again(there, "metrics/erasing/prediction-psl-cycle-1-val.csv")
    again(there, "metrics.csv")
    again(there, "report/index.html")
    table = pd.read_csv(there / "metrics.csv")
    assert list(table[table["metric"] == "warning_all_background"]["stage"].unique()) != []
    assert "every mask is background or unlabelled" in (there / "report/index.html").read_text()
