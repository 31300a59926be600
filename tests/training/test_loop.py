"""The training loop: optimiser, schedules, frozen statistics, equal runs, modes and devices."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from wsss.files.errors import ArtefactError
from wsss.settings.sections import ComputeSection, OptimiserSection, TrainingSection
from wsss.training.devices import pick_device
from wsss.training.modes import evaluating, set_train_mode
from wsss.training.optimiser import Precision, make_optimiser
from wsss.training.schedule import epochs_of, rate_factor

from ..interrupted_fit import equal, losses, network, train, training_images, write_set


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"))


# ---------------------------------------------------------------- optimiser and schedule


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_optimiser_values_land_in_their_own_slots(kind):
    model = network()
    settings = OptimiserSection(kind=kind, lr=0.25, head_lr_factor=10, momentum=0.75, weight_decay=0.0625)
    optimiser = make_optimiser((list(model.backbone.parameters()), list(model.head.parameters())), settings=settings)
    assert type(optimiser) is (torch.optim.SGD if kind == "sgd" else torch.optim.AdamW)
    assert [g["lr"] for g in optimiser.param_groups] == [0.25, 2.5]
    for group, part in zip(optimiser.param_groups, (model.backbone, model.head), strict=True):
        assert group["weight_decay"] == 0.0625
        assert group.get("momentum") == (0.75 if kind == "sgd" else None)
        assert [id(p) for p in group["params"]] == [id(p) for p in part.parameters()]
    alone = make_optimiser(([], list(model.head.parameters())), settings=settings)
    assert [g["lr"] for g in alone.param_groups] == [2.5]


def test_sgd_steps_by_hand():
    """v = 0.5 v + (g + 0.1 w); w = w - 0.2 v, twice, with g = 1."""
    w = nn.Parameter(torch.tensor([1.0]))
    optimiser = make_optimiser(([w], []), settings=OptimiserSection(kind="sgd", lr=0.2, momentum=0.5, weight_decay=0.1))
    for expected in (1 - 0.2 * 1.1, 0.78 - 0.2 * (0.5 * 1.1 + 1.078)):
        optimiser.zero_grad()
        w.sum().backward()
        optimiser.step()
        assert float(w.detach()) == pytest.approx(expected)


def test_schedules_by_hand():
    poly = OptimiserSection(schedule="poly", power=0.5)
    factors = [rate_factor(poly, step=s, steps=4, epoch=0) for s in range(4)]
    assert factors == pytest.approx([1, 0.75**0.5, 0.5**0.5, 0.5])
    step = OptimiserSection(schedule="step", milestones=[2, 3], gamma=0.1)
    assert [rate_factor(step, step=9, steps=10, epoch=e) for e in range(5)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])


def test_epochs_by_hand():
    settings = TrainingSection(epochs=2, min_steps=100)
    assert [epochs_of(settings, steps=s) for s in (1, 30, 49, 50, 51)] == [100, 4, 3, 2, 2]


def test_the_loop_follows_the_schedule(index, tmp_path, monkeypatch):
    rates = []
    step = torch.optim.SGD.step

    def recorded(self, *arguments, **options):
        rates.append([g["lr"] for g in self.param_groups])
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", recorded)
    settings = OptimiserSection(kind="sgd", lr=0.1, head_lr_factor=10, schedule="poly", power=1.0)
    _, record = train(index, tmp_path / "r.safetensors", epochs=2, optimiser=settings)
    assert record["steps"] == 4  # 9 images in batches of 4: two a pass, the ninth is left out
    np.testing.assert_allclose(rates, [[0.1, 1.0], [0.075, 0.75], [0.05, 0.5], [0.025, 0.25]])
    rates.clear()
    train(
        index,
        tmp_path / "s.safetensors",
        epochs=2,
        optimiser=OptimiserSection(kind="sgd", lr=0.1, head_lr_factor=1, schedule="step", milestones=[1], gamma=0.5),
    )
    np.testing.assert_allclose(rates, [[0.1, 0.1], [0.1, 0.1], [0.05, 0.05], [0.05, 0.05]])


def test_a_small_set_is_passed_over_until_there_are_enough_steps(index, tmp_path, monkeypatch):
    step, rates = torch.optim.SGD.step, []

    def recorded(self, *arguments, **options):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", recorded)
    settings = OptimiserSection(kind="sgd", lr=0.1, head_lr_factor=1, schedule="step", milestones=[1], gamma=0.5)
    _, record = train(index, tmp_path / "r.safetensors", epochs=2, min_steps=7, optimiser=settings)
    assert record["steps"] == 8  # two steps a pass: four passes make the seven
    assert [e["epoch"] for e in record["loss_curve"]] == [1, 2, 3, 4]
    np.testing.assert_allclose(rates, [0.1] * 4 + [0.05] * 4)  # the milestone after half of the training stays there
    assert train(index, tmp_path / "s.safetensors", epochs=2, min_steps=4, optimiser=settings)[1]["steps"] == 4


# ---------------------------------------------------------------- the loop


def test_the_record(index, tmp_path):
    model, record = train(index, tmp_path / "r.safetensors", epochs=3)
    assert [e["epoch"] for e in record["loss_curve"]] == [1, 2, 3]
    assert all(e["loss"] == pytest.approx(e["error"]) for e in record["loss_curve"])
    assert record["final_loss"] == record["loss_curve"][-1]["loss"] < record["loss_curve"][0]["loss"]
    assert (record["images"], record["steps"], record["device"]) == (9, 6, "cpu")
    assert record["peak_memory_mb"] > 50
    assert not equal(model, network())
    assert model.training  # as it came


def test_losses_are_summed(index, tmp_path):
    def two(outputs, batch):
        error = losses(outputs, batch)["error"]
        return {"a": 0.25 * error, "b": 0.75 * error}

    one, record = train(index, tmp_path / "a.safetensors", epochs=1)
    both, parts = train(index, tmp_path / "b.safetensors", epochs=1, losses=two)
    assert parts["final_loss"] == pytest.approx(record["final_loss"])
    assert parts["loss_curve"][0]["b"] == pytest.approx(0.75 * record["final_loss"])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(one.parameters(), both.parameters(), strict=True))


def test_pretrained_batchnorm_statistics_are_frozen(index, tmp_path):
    frozen, _ = train(index, tmp_path / "a.safetensors", epochs=1, freeze_batchnorm=True)
    free, _ = train(index, tmp_path / "b.safetensors", epochs=1, freeze_batchnorm=False)
    start = network()
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(frozen.backbone[1], name), getattr(start.backbone[1], name))
        assert not torch.equal(getattr(free.backbone[1], name), getattr(start.backbone[1], name))
        # a new layer has no statistics to keep
        assert not torch.equal(getattr(frozen.head[1], name), getattr(start.head[1], name))
    assert not torch.equal(frozen.backbone[1].weight, start.backbone[1].weight)  # statistics only
    set_train_mode(frozen, freeze_batchnorm=True)
    modules = (frozen, frozen.backbone[1], frozen.head[1], frozen.backbone[3])
    assert [m.training for m in modules] == [True, False, True, True]


def test_equal_runs_have_equal_weights_with_any_number_of_workers(index, tmp_path):
    first, record = train(index, tmp_path / "a.safetensors", epochs=2)
    torch.rand(17)  # what was drawn before does not matter
    for k, workers in enumerate((0, 1)):
        again, same = train(index, tmp_path / f"{k}.safetensors", epochs=2, workers=workers)
        assert equal(first, again)
        assert [e["loss"] for e in same["loss_curve"]] == [e["loss"] for e in record["loss_curve"]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_its_place(index, tmp_path, bad):
    calls = []

    def breaks(outputs, batch):
        calls.append(1)
        return {"error": losses(outputs, batch)["error"] * (bad if len(calls) == 4 else 1)}

    model = network()
    with pytest.raises(ValueError, match=rf"the loss is {bad} in epoch 2, step 2 .*lower optimiser.lr"):
        train(index, tmp_path / "r.safetensors", epochs=3, losses=breaks, model=model)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_weights_that_are_no_numbers_are_never_given_out(index, tmp_path):
    """The loss of the last step is 0 and its gradient no number: no later loss would show it."""
    calls = []

    def breaks(outputs, batch):
        calls.append(1)
        return {"error": losses(outputs, batch)["error"] if len(calls) < 4 else (0 * outputs).abs().sqrt().sum()}

    said = r"tensors of the trained network hold NaN or infinity, e\.g\. backbone.*lower optimiser\.lr"
    with pytest.raises(ValueError, match=said):
        train(index, tmp_path / "r.safetensors", epochs=2, losses=breaks)
    assert len(calls) == 4


@pytest.mark.parametrize(("factor", "said"), [(1.0, False), (1e6, True)])
def test_a_loss_that_grows_without_end_is_said_loudly(index, tmp_path, capsys, factor, said):
    """Finite, and yet nothing was learnt: the last epoch's loss is far above the first one's."""

    def grows(outputs, batch):
        return {"error": losses(outputs, batch)["error"] * factor ** (batch["progress"] > 0.5)}

    train(index, tmp_path / "r.safetensors", epochs=3, losses=grows)
    assert ("the training has diverged; lower optimiser.lr" in capsys.readouterr().err) == said


def test_no_images(index, tmp_path):
    images = training_images(index)
    images.rows = []
    with pytest.raises(ValueError, match="no training images"):
        train(index, tmp_path / "r.safetensors", epochs=1, images=images)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_told_in_one_line(index, tmp_path, workers):
    images = training_images(index)
    images.rows = [type(r)(**{**r.__dict__, "image": tmp_path / "gone.png"}) for r in images.rows]
    with pytest.raises(ArtefactError) as caught:
        train(index, tmp_path / "r.safetensors", epochs=1, images=images, workers=workers)
    assert str(caught.value) == f"{tmp_path / 'gone.png'}: no such image"


# ---------------------------------------------------------------- precision


def test_mixed_precision_computes_in_16_bits_and_gives_float32():
    layer, seen = nn.Linear(3, 2), []
    layer.register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    x = torch.ones(4, 3)
    for kind, dtype in (("32", torch.float32), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.bfloat16)):
        precision = Precision(kind, device=torch.device("cpu"))
        assert precision.forward(layer, x).dtype == torch.float32
        assert seen.pop() == dtype
        assert precision.state_dict() == {}
    assert torch.equal(Precision("32", device=torch.device("cpu")).forward(layer, x), layer(x))


def test_other_outputs_of_mixed_precision_stay():
    class Several(nn.Module):
        def forward(self, x):
            return {"maps": (x, [x.long(), None]), "name": "a"}

    found = Precision("bf16-mixed", device=torch.device("cpu")).forward(Several(), torch.ones(2, 3))
    assert (found["maps"][0].dtype, found["maps"][1][0].dtype) == (torch.float32, torch.int64)
    assert (found["maps"][1][1], found["name"]) == (None, "a")


def test_a_scaled_loss_takes_the_same_step_and_an_overflow_none():
    precision = Precision("32", device=torch.device("cpu"))
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    w = nn.Parameter(torch.tensor([1.0]))
    optimiser = torch.optim.SGD([w], lr=0.5)
    precision.scaled(w.sum()).backward()
    assert w.grad.item() == 8
    precision.step(optimiser)
    assert w.item() == 0.5
    w.grad = torch.tensor([torch.inf])
    precision.step(optimiser)
    assert w.item() == 0.5
    assert precision.state_dict()["scale"] == 4
    again = Precision("32", device=torch.device("cpu"))
    again.scaler = torch.amp.GradScaler("cpu")
    again.load_state_dict(json.loads(json.dumps(precision.state_dict())))
    assert again.state_dict() == precision.state_dict()


def test_a_training_in_mixed_precision_keeps_float32_weights(index, tmp_path):
    model, record = train(index, tmp_path / "a.safetensors", epochs=2, precision="bf16-mixed")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    whole, other = train(index, tmp_path / "b.safetensors", epochs=2)
    assert not equal(model, whole)
    assert record["final_loss"] == pytest.approx(other["final_loss"], rel=0.02)


# ---------------------------------------------------------------- modes and devices


def test_modes_are_restored_after_an_exception():
    model = network()
    model.backbone[1].eval()
    modes = [m.training for m in model.modules()]

    def inside():
        with evaluating(model) as same:
            assert same is model
            assert not any(m.training for m in model.modules())
            assert not model(torch.zeros(1, 3, 8, 8)).requires_grad
            raise KeyError

    with pytest.raises(KeyError):
        inside()
    assert [m.training for m in model.modules()] == modes
    assert model(torch.zeros(2, 3, 8, 8)).requires_grad


def test_fit_restores_modes_after_an_exception(index, tmp_path):
    model = network().eval()

    def breaks(outputs, batch):
        raise KeyError

    with pytest.raises(KeyError):
        train(index, tmp_path / "r.safetensors", epochs=1, losses=breaks, model=model)
    assert not any(m.training for m in model.modules())


def test_devices():
    assert pick_device(ComputeSection(device="cpu", threads=1)) == torch.device("cpu")
    assert torch.get_num_threads() == 1
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA GPU"):
            pick_device(ComputeSection(device="cuda"))
