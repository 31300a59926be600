"""The training loop against a few steps worked by hand, and its dropout, draws and warnings."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wsss.settings.sections import OptimiserSection
from wsss.training import draws
from wsss.training.loop import _check_finite, _warn_if_diverged

from ..interrupted_fit import train, write_set


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"))


class Number(nn.Module):
    """A network of two numbers, one pretrained and one new, that look at no image: (N, 1) each."""

    def __init__(self, old=5.0, new=-2.0):
        super().__init__()
        self.backbone, self.head = nn.ParameterList([torch.tensor(old)]), nn.ParameterList([torch.tensor(new)])

    def forward(self, image_n):
        ones = torch.ones(len(image_n), 1)
        return ones * self.backbone[0], ones * self.head[0]


def two_squares(outputs, batch):
    """(w - 1)^2 and 2 (u + 1)^2: the gradients are 2 (w - 1) and 4 (u + 1)."""
    return {"first": (outputs[0] - 1).square().mean(), "second": 2 * (outputs[1] + 1).square().mean()}


def test_two_epochs_of_two_steps_by_hand(index, tmp_path):
    """Plain SGD, whose rates 0.1 and 0.2 sink by a quarter a step. The curve has each epoch's mean over its steps."""
    optimiser = OptimiserSection(kind="sgd", lr=0.1, head_lr_factor=2, momentum=0.0, weight_decay=0.0, power=1.0)
    model, record = train(index, tmp_path / "r.pt", epochs=2, losses=two_squares, model=Number(), optimiser=optimiser)
    w, u, values = 5.0, -2.0, []
    for k in range(4):
        values.append(((w - 1) ** 2, 2 * (u + 1) ** 2))
        w, u = w - 0.1 * (1 - k / 4) * 2 * (w - 1), u - 0.2 * (1 - k / 4) * 4 * (u + 1)
    assert model.backbone[0].item() == pytest.approx(w, rel=1e-6)
    assert model.head[0].item() == pytest.approx(u, rel=1e-6)
    for epoch, entry in enumerate(record["loss_curve"]):
        first, second = (sum(v[part] for v in values[2 * epoch : 2 * epoch + 2]) / 2 for part in (0, 1))
        found = [entry[name] for name in ("epoch", "first", "second", "loss")]
        assert found == pytest.approx([epoch + 1, first, second, first + second])
    assert record["final_loss"] == pytest.approx(sum(sum(v) for v in values[2:]) / 2)


def test_momentum_and_decay_go_on_from_step_to_step(index, tmp_path):
    """v = 0.5 v + g + 0.25 w, w = w - rate v, over both epochs."""
    optimiser = OptimiserSection(kind="sgd", lr=0.1, head_lr_factor=1, momentum=0.5, weight_decay=0.25, power=1.0)
    model, _ = train(index, tmp_path / "r.pt", epochs=2, losses=two_squares, model=Number(), optimiser=optimiser)
    w, v = 5.0, 0.0
    for k in range(4):
        v = 0.5 * v + 2 * (w - 1) + 0.25 * w
        w -= 0.1 * (1 - k / 4) * v
    assert model.backbone[0].item() == pytest.approx(w, rel=1e-6)


def test_each_batch_says_whose_images_it_has_and_how_far_the_training_is(index, tmp_path):
    """Image pK of the set has label 1 + K mod 3; nine images in batches of four, in an order drawn for each epoch."""
    seen = []

    def looks(outputs, batch):
        seen.append((batch["image_id"], batch["progress"]))
        labels = [1 + int(i[1:]) % 3 for i in batch["image_id"]]
        assert (batch["labels"].argmax(1) + 1).tolist() == labels
        assert batch["image_n"].shape == (4, 3, 32, 32)
        return two_squares(outputs, batch)

    train(index, tmp_path / "r.pt", epochs=3, losses=looks, model=Number())
    assert [progress for _, progress in seen] == pytest.approx([k / 6 for k in range(6)])
    order = [[f"p{k}" for k in draws.generator(0, "test", 1, epoch).permutation(9)[:8]] for epoch in range(3)]
    assert [seen[2 * e][0] + seen[2 * e + 1][0] for e in range(3)] == order


class Dropped(Number):
    """As Number, with ones that dropout has been at."""

    def forward(self, image_n):
        return *super().forward(image_n), nn.functional.dropout(torch.ones(4, 50), 0.5, self.training)


def test_dropout_is_keyed_on_the_epoch(index, tmp_path):
    """Other cells drop out in every epoch, and the same ones whenever it is done again."""
    seen = []

    def looks(outputs, batch):
        seen.append(outputs[2].clone())
        return two_squares(outputs[:2], batch)

    train(index, tmp_path / "r.pt", epochs=3, losses=looks, model=Dropped())
    for epoch in range(3):
        torch.manual_seed(draws.key(0, "test", 1, epoch))
        for step in range(2):
            assert torch.equal(seen[2 * epoch + step], nn.functional.dropout(torch.ones(4, 50), 0.5))
    assert not any(torch.equal(seen[a], seen[b]) for a in range(6) for b in range(a))


@pytest.mark.parametrize(("rise", "said"), [(1.0, False), (1e4, True)])
def test_a_training_that_goes_astray_within_its_first_epoch_is_said(index, tmp_path, capsys, rise, said):
    """Every epoch's loss is alike; the first step's alone was small."""

    def leaps(outputs, batch):
        named = two_squares(outputs, batch)
        return {"error": 0 * sum(named.values()) + (1.0 if batch["progress"] == 0 else rise)}

    train(index, tmp_path / "r.pt", epochs=2, losses=leaps, model=Number())
    words = "the loss grew from 1 in the first step to 1e+04 in the last epoch: the training has diverged"
    assert (words in capsys.readouterr().err) is said


@pytest.mark.parametrize(
    ("losses", "start", "said"),
    [
        ((1.0, 50.0, 10.0), 1.0, ""),  # exactly ten times the first epoch
        ((1.0, 0.1, 10.1), 1.0, "first epoch"),
        ((50.0, 100.0), 1.0, ""),  # exactly a hundred times the first step
        ((50.0, 101.0), 1.0, "first step"),
        ((1.0, 1000.0, 1.0), 1.0, ""),  # the last epoch alone counts
        ((0.0, 99.0), 0.0, ""),  # a loss of 0 has no multiple
        ((-1.0, 99.0), -1.0, ""),
    ],
)
def test_when_a_training_has_diverged(capsys, losses, start, said):
    _warn_if_diverged([{"loss": loss} for loss in losses], start=start)
    warned = capsys.readouterr().err
    assert bool(warned) is bool(said)
    assert said in warned


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_single_number_that_is_none_is_found(bad):
    """One of four weights, and one of three statistics; whole numbers are left alone."""
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(3))
    _check_finite(model, settings=OptimiserSection())
    for name, tensor in (("0.weight", model[0].weight.data), ("1.running_var", model[1].running_var)):
        was = tensor[2].clone()
        tensor[2] = bad
        with pytest.raises(
            ValueError, match=rf"^1 tensors of the trained network hold NaN or infinity, e\.g\. {name};"
        ):
            _check_finite(model, settings=OptimiserSection())
        tensor[2] = was
    _check_finite(model, settings=OptimiserSection())
