"""Training lowers the loss, is repeatable, resumes, and refuses masks that teach nothing."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.segment.drawn_set import SIZES, TINY, draw, settings, store_masks, train
from wsss.files.errors import ArtefactError
from wsss.nets.checkpoints import load_network, save_network
from wsss.settings.sections import BackboneSection, PslSection
from wsss.settings.stage_settings import SegmenterSettings
from wsss.stages.seeds.cam import Classifier
from wsss.stages.segment import train_segmenter as stage
from wsss.stages.segment.psl import psl_losses
from wsss.training.loading import TrainingImages


def test_the_file_holds_all_that_prediction_needs(segmenter):
    _, meta = load_network(segmenter)
    assert meta["stage"] == "train_segmenter"
    assert meta["classes"] == ["background", "class1", "class2"]
    assert json.loads(json.dumps(meta)) == meta
    assert meta["settings"]["psl"]["test_p"] == 0.1


def test_two_runs_are_equal_and_another_seed_is_not(drawn, tmp_path):
    first, second, third = (
        train(drawn, tmp_path / n, settings(epochs=2, psl=True, seed=s)) for n, s in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.read_bytes() == second.read_bytes()
    states = [load_network(p)[0] for p in (first, third)]
    assert not torch.equal(states[0]["segment.weight"], states[1]["segment.weight"])


def test_a_training_stopped_after_an_epoch_ends_with_the_same_weights(drawn, tmp_path, monkeypatch):
    given = settings(epochs=3, psl=True)
    whole = train(drawn, tmp_path / "whole", given)
    steps: list[int] = []

    def counted(outputs, batch, *, settings):
        steps.append(1)
        if len(steps) == 5:  # in the third epoch: two steps each
            raise KeyboardInterrupt
        return psl_losses(outputs, batch, settings=settings)

    monkeypatch.setattr(stage, "psl_losses", counted)
    with pytest.raises(KeyboardInterrupt):
        train(drawn, tmp_path / "again", given)
    assert (tmp_path / "again" / ".resume" / "segmenter.safetensors").is_file()
    assert not (tmp_path / "again" / "segmenter.safetensors").exists()
    assert train(drawn, tmp_path / "again", given).read_bytes() == whole.read_bytes()
    assert len(steps) == 5 + 2  # the third epoch alone was done again
    assert not (tmp_path / "again" / ".resume").exists()


def test_a_resume_file_and_a_network_of_another_class_order_are_never_used(tmp_path, monkeypatch, caplog):
    drawn = draw(tmp_path / "set")
    monkeypatch.setattr(stage, "keep_or_finish", lambda resume: None)  # as if killed right before
    first = train(drawn, tmp_path / "a", settings(epochs=1))
    assert (tmp_path / "a" / ".resume" / "segmenter.safetensors").is_file()
    table = drawn.index.parent / "classes.csv"
    table.write_text(table.read_text().replace("class1", "x").replace("class2", "class1").replace("x", "class2"))
    with pytest.raises(
        ArtefactError,
        match="network of the classes class1, class2, expected class2, class1, in this order; train it again",
    ):
        train(drawn, tmp_path / "b", settings(epochs=1), previous=first)
    caplog.set_level("INFO", "wsss")
    train(drawn, tmp_path / "a", settings(epochs=1))
    assert "belongs to other settings, code, inputs" in caplog.text


def test_full_supervision_reads_the_truth(drawn, tmp_path):
    """The same pixels as truth and as pseudo masks give the same network; only the settings in the file differ."""
    truth, pseudo = (
        train(drawn, tmp_path / "truth", settings(epochs=1, full_supervision=True), masks=[]),
        train(drawn, tmp_path / "pseudo", settings(epochs=1)),
    )
    states = [load_network(p)[0] for p in (truth, pseudo)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[1])


def test_a_missing_mask_is_named(drawn, tmp_path):
    part = store_masks(tmp_path / "part.h5", {k: m for k, m in drawn.truth.items() if k != "p3"})
    with pytest.raises(ArtefactError, match="p3"):
        train(drawn, tmp_path, settings(epochs=1), masks=[part])


def test_padding_takes_no_part_in_the_online_mask():
    """Ŝ labels the image's cells alone: whatever the network says of the padding, the loss is the same."""
    maps = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    other = maps.clone()
    other[..., 2:] = torch.randn(1, 3, 4, 2, generator=torch.Generator().manual_seed(1))
    inside = torch.zeros(1, 8, 8)
    inside[..., :4] = 1
    batch = {"labels": torch.ones(1, 2), "mask": torch.full((1, 8, 8), 255, dtype=torch.uint8), "inside": inside}
    found = [
        psl_losses((m, torch.zeros(1, 2)), batch, settings=PslSection(enabled=True))["online"].item()
        for m in (maps, other, maps[..., :2])
    ]
    assert found[0] == pytest.approx(found[1])
    left = {"labels": batch["labels"], "mask": batch["mask"][..., :4]}
    alone = psl_losses((maps[..., :2], torch.zeros(1, 2)), left, settings=PslSection(enabled=True))["online"].item()
    assert found[0] == pytest.approx(alone)
    assert alone > 0


def test_inside_covers_the_image(drawn):
    from wsss.files.index import ImageIndex

    rows = ImageIndex(drawn.index).split("train")
    assert [stage.Inside()(r).shape for r in rows] == SIZES
    assert all((stage.Inside()(r) == 1).all() for r in rows)
    assert stage.Inside()(rows[0]).dtype == np.float32


def test_the_online_masks_of_a_training_cost_something_once_its_warm_up_is_over(drawn, tmp_path):
    """The first of two epochs is the warm-up, where the online masks cost nothing. In the second they count."""
    given = settings(epochs=2, psl=True)
    assert given.psl.warmup == 0.5
    train(drawn, tmp_path, given)
    first, second = json.loads((tmp_path / "metrics.json").read_text())["loss_curve"]
    assert first["online"] == 0
    assert second["online"] > 0.01
    assert second["loss"] == pytest.approx(second["seed"] + second["online"] + second["classification"], rel=1e-5)


def still(**changes: object) -> SegmenterSettings:
    """A training whose learning rate moves nothing."""
    given = settings(epochs=1, psl=True, **changes)
    optimiser = given.train.optimiser.model_copy(update={"lr": 1e-30, "weight_decay": 0.0})
    return given.model_copy(update={"train": given.train.model_copy(update={"optimiser": optimiser})})


def test_a_later_cycle_starts_from_the_previous_network(drawn, segmenter, tmp_path):
    """With a learning rate that moves nothing, the weights are those of the network it started from."""
    before, _ = load_network(segmenter)
    for previous, same in ((segmenter, True), (None, False)):
        folder = tmp_path / str(same)
        after, _ = load_network(train(drawn, folder, still(cycle=1), previous=previous))
        assert (
            all(
                torch.allclose(before[k], after[k], rtol=0, atol=1e-12)
                for k in before
                if "running" not in k and "num_batches" not in k
            )
            is same
        )


def test_a_later_cycle_draws_other_weights(drawn, tmp_path):
    """With a learning rate that moves nothing the weights are those at the start."""
    files = [train(drawn, tmp_path / str(k), still(cycle=cycle)) for k, cycle in enumerate((0, 0, 1))]
    first, again, later = (load_network(path)[0]["segment.weight"] for path in files)
    assert torch.allclose(first, again, rtol=0, atol=1e-12)
    assert not torch.allclose(first, later, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("psl", "planes"), [(False, {"mask"}), (True, {"mask", "inside"})])
def test_crops_are_keyed_on_the_cycle_and_have_the_planes_that_are_read(drawn, tmp_path, monkeypatch, psl, planes):
    """Without PSL nobody asks what lies inside the image."""
    asked = []

    class Noted(TrainingImages):
        def __init__(self, rows, **given):
            asked.append((given["stage"], given["round"], given["seed"], set(given["planes"])))
            super().__init__(rows, **given)

    monkeypatch.setattr(stage, "TrainingImages", Noted)
    train(drawn, tmp_path, settings(epochs=1, psl=psl, cycle=3, seed=5))
    assert asked == [("train_segmenter", 3, 5, planes)]


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ([0, 1, 2, 255], None, ""),
        ([0, 1, 2, 3], ArtefactError, r"hold values \[3\]; legal are 0\.\.2 and 255"),
        ([0, 1, 254, 2], ArtefactError, r"hold values \[254\]"),
        ([0, 255, 255, 0], ValueError, "none of the 1 training masks holds an object"),
        ([0, 255, 1, 1], None, "no training mask holds two: "),
    ],
)
def test_the_values_of_masks_are_checked(values, error, words, capsys):
    """The data set has the classes one and two."""
    mask = np.array([values], np.uint8)
    row = SimpleNamespace(image_id="a", height=1, width=4)
    with pytest.raises(error, match=words) if error else nullcontext():
        stage.check_classes(lambda _: mask, [row], class_names=["background", "one", "two"])
    warned = capsys.readouterr().err
    assert (words in warned) if words and not error else "no training mask" not in warned


@pytest.mark.parametrize("outputs", [2, 3])
def test_a_training_starts_from_a_classifiers_backbone_and_its_head_where_that_fits(drawn, tmp_path, outputs):
    """With a learning rate that moves nothing, they are the classifier's. EPS's head also has a background output."""
    torch.manual_seed(5)
    classifier = Classifier(outputs, backbone=TINY)
    path = tmp_path / "classifier.safetensors"
    save_network(
        path,
        state=classifier.state_dict(),
        meta={"stage": "train_classifier", "classes": ["background", "class1", "class2"]},
    )
    after, _ = load_network(train(drawn, tmp_path, still(start="classifier"), classifier=path))
    weights = {
        f"backbone.{k}": v
        for k, v in classifier.backbone.state_dict().items()
        if "running" not in k and "num_batches" not in k
    }
    assert all(torch.allclose(after[k], v, rtol=0, atol=1e-12) for k, v in weights.items())
    assert torch.allclose(after["classify.weight"], classifier.head.weight[:2].flatten(1), rtol=0, atol=1e-12) is (
        outputs == 2
    )


def test_a_classifier_that_does_not_fit_is_refused(drawn, segmenter, tmp_path):
    torch.manual_seed(5)
    other = Classifier(2, backbone=BackboneSection(name="resnet18", weights="none", output_stride=16))
    save_network(
        tmp_path / "other.safetensors",
        state=other.state_dict(),
        meta={"stage": "train_classifier", "classes": ["background", "class1", "class2"]},
    )
    save_network(
        tmp_path / "names.safetensors",
        state=other.state_dict(),
        meta={"stage": "train_classifier", "classes": ["background", "cat", "dog"]},
    )
    for path, words in (
        (tmp_path / "other.safetensors", "its backbone is not that of"),
        (tmp_path / "names.safetensors", "data set's 2 classes"),
        (segmenter, "expected a classifier"),
    ):
        with pytest.raises(ArtefactError, match=words):
            train(drawn, tmp_path, still(start="classifier"), classifier=path)
    assert not (tmp_path / "segmenter.safetensors").exists()
