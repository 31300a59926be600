"""The training loop: optimiser, schedules, frozen statistics, equal runs, resuming after a kill, saved networks."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from wsss.artefacts import ArtefactError
from wsss.networks import load_network, restore_network, save_network
from wsss.sections import ComputeSection, OptimiserSection
from wsss.training import digest, evaluating, finish, make_optimiser, pick_device, rate_factor, set_train_mode

from .conftest import ROOT
from .interrupted_fit import Network, losses, network, train, training_images
from .tiny_set import write_tiny_set


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    rng = np.random.default_rng(0)
    pictures = {f"p{k}": (rng.integers(0, 256, (36, 44, 3), dtype=np.uint8), [1 + k % 3]) for k in range(9)}
    return write_tiny_set(tmp_path_factory.mktemp("set"), pictures)[0]


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


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
    assert [g["lr"] for g in make_optimiser(([], list(model.head.parameters())), settings=settings).param_groups] == [2.5]


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
    assert [rate_factor(poly, step=s, steps=4, epoch=0) for s in range(4)] == pytest.approx([1, 0.75**0.5, 0.5**0.5, 0.5])
    step = OptimiserSection(schedule="step", milestones=[2, 3], gamma=0.1)
    assert [rate_factor(step, step=9, steps=10, epoch=e) for e in range(5)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])


def test_the_loop_follows_the_schedule(index, tmp_path, monkeypatch):
    rates = []
    step = torch.optim.SGD.step

    def recorded(self, *arguments, **options):
        rates.append([g["lr"] for g in self.param_groups])
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", recorded)
    settings = OptimiserSection(kind="sgd", lr=0.1, head_lr_factor=10, schedule="poly", power=1.0)
    _, record = train(index, tmp_path / "r.pt", epochs=2, optimiser=settings)
    assert record["steps"] == 4  # 9 images in batches of 4: two a pass, the ninth is left out
    np.testing.assert_allclose(rates, [[0.1, 1.0], [0.075, 0.75], [0.05, 0.5], [0.025, 0.25]])
    rates.clear()
    train(index, tmp_path / "s.pt", epochs=2, optimiser=OptimiserSection(kind="sgd", lr=0.1, head_lr_factor=1, schedule="step", milestones=[1], gamma=0.5))
    np.testing.assert_allclose(rates, [[0.1, 0.1], [0.1, 0.1], [0.05, 0.05], [0.05, 0.05]])


def test_a_small_set_is_passed_over_until_there_are_enough_steps(index, tmp_path, monkeypatch):
    step, rates = torch.optim.SGD.step, []

    def recorded(self, *arguments, **options):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", recorded)
    settings = OptimiserSection(kind="sgd", lr=0.1, head_lr_factor=1, schedule="step", milestones=[1], gamma=0.5)
    _, record = train(index, tmp_path / "r.pt", epochs=2, min_steps=7, optimiser=settings)
    assert record["steps"] == 8  # two steps a pass: four passes make the seven
    assert [e["epoch"] for e in record["loss_curve"]] == [1, 2, 3, 4]
    np.testing.assert_allclose(rates, [0.1] * 4 + [0.05] * 4)  # the milestone after half of the training stays there
    assert train(index, tmp_path / "r.pt", epochs=2, min_steps=4, optimiser=settings)[1]["steps"] == 4


# ---------------------------------------------------------------- the loop


def test_the_record(index, tmp_path):
    model, record = train(index, tmp_path / "r.pt", epochs=3)
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

    one, record = train(index, tmp_path / "a.pt", epochs=1)
    both, parts = train(index, tmp_path / "b.pt", epochs=1, losses=two)
    assert parts["final_loss"] == pytest.approx(record["final_loss"])
    assert parts["loss_curve"][0]["b"] == pytest.approx(0.75 * record["final_loss"])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(one.parameters(), both.parameters(), strict=True))


def test_pretrained_batchnorm_statistics_are_frozen(index, tmp_path):
    frozen, _ = train(index, tmp_path / "a.pt", epochs=1, freeze_batchnorm=True)
    free, _ = train(index, tmp_path / "b.pt", epochs=1, freeze_batchnorm=False)
    start = network()
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(frozen.backbone[1], name), getattr(start.backbone[1], name))
        assert not torch.equal(getattr(free.backbone[1], name), getattr(start.backbone[1], name))
        assert not torch.equal(getattr(frozen.head[1], name), getattr(start.head[1], name))  # a new layer has none to keep
    assert not torch.equal(frozen.backbone[1].weight, start.backbone[1].weight)  # statistics only
    set_train_mode(frozen, freeze_batchnorm=True)
    assert (frozen.training, frozen.backbone[1].training, frozen.head[1].training, frozen.backbone[3].training) == (True, False, True, True)


def test_equal_runs_have_equal_weights_with_any_number_of_workers(index, tmp_path):
    first, record = train(index, tmp_path / "a.pt", epochs=2)
    torch.rand(17)  # what was drawn before does not matter
    for k, workers in enumerate((0, 1)):
        again, same = train(index, tmp_path / f"{k}.pt", epochs=2, workers=workers)
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
        train(index, tmp_path / "r.pt", epochs=3, losses=breaks, model=model)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize(("factor", "said"), [(1.0, False), (1e6, True)])
def test_a_loss_that_grows_without_end_is_said_loudly(index, tmp_path, capsys, factor, said):
    """Finite, and yet nothing was learnt: the last epoch's loss is far above the first one's."""

    def grows(outputs, batch):
        return {"error": losses(outputs, batch)["error"] * factor ** (batch["progress"] > 0.5)}

    train(index, tmp_path / "r.pt", epochs=3, losses=grows)
    assert ("the training has diverged; lower optimiser.lr" in capsys.readouterr().err) == said


def test_no_images(index, tmp_path):
    images = training_images(index)
    images.rows = []
    with pytest.raises(ValueError, match="no training images"):
        train(index, tmp_path / "r.pt", epochs=1, images=images)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_told_in_one_line(index, tmp_path, workers):
    images = training_images(index)
    images.rows = [type(r)(**{**r.__dict__, "image": tmp_path / "gone.png"}) for r in images.rows]
    with pytest.raises(ArtefactError) as caught:
        train(index, tmp_path / "r.pt", epochs=1, images=images, workers=workers)
    assert str(caught.value) == f"{tmp_path / 'gone.png'}: no such image"


# ---------------------------------------------------------------- resuming


class Stopped(Exception):  # noqa: N818
    """A kill within this process."""


def stop_in(index, resume, *, epoch, epochs=4, inputs="a", optimiser=None):
    """Train until the first step of `epoch`."""
    calls = []

    def breaks(outputs, batch):
        calls.append(1)
        if len(calls) > 2 * (epoch - 1):
            raise Stopped
        return losses(outputs, batch)

    with pytest.raises(Stopped):
        train(index, resume, epochs=epochs, losses=breaks, inputs=inputs, **({"optimiser": optimiser} if optimiser else {}))


@pytest.mark.parametrize(
    "optimiser", [OptimiserSection(lr=1e-2), OptimiserSection(kind="sgd", lr=0.05, schedule="step", milestones=[1, 3])], ids=["adamw-poly", "sgd-step"]
)
@pytest.mark.parametrize("epoch", [2, 4])
def test_a_resumed_training_ends_like_an_uninterrupted_one(index, tmp_path, caplog, optimiser, epoch):
    whole, record = train(index, tmp_path / "whole.pt", epochs=4, optimiser=optimiser)
    stop_in(index, tmp_path / "r.pt", epoch=epoch, optimiser=optimiser)
    caplog.set_level(logging.INFO, "wsss")
    resumed, same = train(index, tmp_path / "r.pt", epochs=4, optimiser=optimiser)
    assert f"resuming after epoch {epoch - 1}" in caplog.text
    assert equal(whole, resumed)
    assert [e["loss"] for e in same["loss_curve"]] == [e["loss"] for e in record["loss_curve"]]


def test_a_finished_training_is_not_repeated(index, tmp_path):
    whole, record = train(index, tmp_path / "r.pt", epochs=2)

    def never(outputs, batch):
        raise AssertionError

    again, same = train(index, tmp_path / "r.pt", epochs=2, losses=never)
    assert equal(whole, again)
    assert same["loss_curve"] == record["loss_curve"]


def test_a_resume_file_of_other_settings_is_ignored(index, tmp_path, caplog):
    whole, _ = train(index, tmp_path / "whole.pt", epochs=3)
    stop_in(index, tmp_path / "r.pt", epoch=3, epochs=3, inputs="others")
    caplog.set_level(logging.INFO, "wsss")
    found, _ = train(index, tmp_path / "r.pt", epochs=3)
    assert "belongs to other settings" in caplog.text
    assert equal(found, whole)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other", "flipped"])
def test_a_damaged_resume_file_is_survived(index, tmp_path, capsys, damage):
    resume = tmp_path / "r.pt"
    stop_in(index, resume, epoch=2, epochs=2)
    data = resume.read_bytes()
    bias = torch.load(resume, weights_only=True)["model"]["backbone.0.bias"].numpy().tobytes()
    assert bias in data
    if damage == "other":
        torch.save([1, 2], resume)
    else:
        resume.write_bytes(
            {"cut": data[: len(data) // 2], "empty": b"", "text": b"hello", "flipped": data.replace(bias, bytes([bias[0] ^ 1]) + bias[1:])}[damage]
        )
    found, _ = train(index, resume, epochs=2)
    assert "cannot be read" in capsys.readouterr().err
    assert equal(found, train(index, tmp_path / "whole.pt", epochs=2)[0])


def test_finish_leaves_nothing(tmp_path):
    resume = tmp_path / ".resume" / "a.pt"
    resume.parent.mkdir()
    for name in ("a.pt", ".a.pt.tmp-17"):
        (resume.parent / name).touch()
    finish(resume)
    assert not resume.parent.exists()
    finish(resume)  # nothing there is fine
    resume.parent.mkdir()
    (resume.parent / "b.pt").touch()
    finish(resume)
    assert (resume.parent / "b.pt").exists()


def test_a_killed_process_goes_on_bit_by_bit(index, tmp_path):
    epochs, workers = 40, 1
    folder = tmp_path / "killed"
    folder.mkdir()
    (folder / "dataset").symlink_to(index.parent)
    command = [sys.executable, "-m", "tests.interrupted_fit", str(folder), str(epochs), str(workers)]
    resume = folder / ".resume" / "model.pt"
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not resume.exists():
        assert process.poll() is None, "the training ended by itself"
        assert time.monotonic() < end
        time.sleep(0.005)
    time.sleep(random.random() * 0.2)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "killed too late: raise the number of epochs"
    assert not (folder / "model.pt").exists()
    assert 1 <= len(torch.load(resume, weights_only=True)["curve"]) < epochs
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.PIPE)
    whole, _ = train(index, tmp_path / "whole.pt", epochs=epochs)
    state, _ = load_network(folder / "model.pt")
    assert all(torch.equal(v, state[k]) for k, v in whole.state_dict().items())


def test_digests():
    assert digest("a", "b") != digest("ab") != digest("a\0b")
    assert digest("a") == digest("a")


def test_digests_follow_file_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    before = digest(tmp_path / "a")
    assert before == digest(tmp_path / "b")
    (tmp_path / "a").write_text("2")
    assert digest(tmp_path / "a") != before


# ---------------------------------------------------------------- saved networks, modes, devices


def test_a_network_comes_back(tmp_path):
    model = network().to(memory_format=torch.channels_last)
    meta = {"classes": ["background", "cat"], "lr": 0.1, "settings": {"round": 1, "previous": None}}
    save_network(tmp_path / "n.pt", state=model.state_dict(), meta=meta)
    state, found = load_network(tmp_path / "n.pt")
    assert found == meta
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    other = Network()
    assert restore_network(other, tmp_path / "n.pt") == meta
    assert equal(other, model)
    save_network(tmp_path / "other name.pt", state=network().state_dict(), meta=meta)
    assert (tmp_path / "n.pt").read_bytes() == (tmp_path / "other name.pt").read_bytes()


class Thing:
    """A pickled object."""

    made = 0

    def __reduce__(self):
        return (Thing.make, ())

    @staticmethod
    def make():
        Thing.made += 1
        return {}


def test_files_that_are_no_networks_are_refused(tmp_path):
    torch.save({"format": 1, "meta": {}, "state": Thing()}, tmp_path / "object.pt")
    torch.save({"format": 2, "meta": {}, "state": {}}, tmp_path / "format.pt")
    torch.save(network().state_dict(), tmp_path / "bare.pt")
    save_network(tmp_path / "cut.pt", state=network().state_dict(), meta={})
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:500])
    save_network(tmp_path / "flipped.pt", state=network().state_dict(), meta={})
    data = bytearray((tmp_path / "flipped.pt").read_bytes())
    data[data.index(network().state_dict()["backbone.0.weight"].numpy().tobytes()) + 7] ^= 1
    (tmp_path / "flipped.pt").write_bytes(data)
    expected = {
        "flipped": "damaged",
        "object": "not a network of this package",
        "bare": "not a network of this package",
        "cut": "damaged",
        "format": "format 2, expected 1",
        "gone": "no such network",
    }
    for name, words in expected.items():
        with pytest.raises(ArtefactError, match=rf"{name}\.pt: .*{words}"):
            load_network(tmp_path / f"{name}.pt")
    assert Thing.made == 0


def test_a_network_of_another_shape_is_refused(tmp_path):
    save_network(tmp_path / "n.pt", state=nn.Conv2d(1, 2, 3).state_dict(), meta={})
    for other in (nn.Conv2d(1, 3, 3), nn.Linear(2, 2), network()):
        with pytest.raises(ArtefactError, match=r"n\.pt: made for another network .*train it again"):
            restore_network(other, tmp_path / "n.pt")


def test_modes_are_restored_after_an_exception():
    model = network()
    model.backbone[1].eval()
    modes = [m.training for m in model.modules()]

    def inside():
        with evaluating(model) as same:
            assert same is model
            assert not any(m.training for m in model.modules())
            assert not model(torch.zeros(1, 3, 8, 8)).requires_grad
            raise Stopped

    with pytest.raises(Stopped):
        inside()
    assert [m.training for m in model.modules()] == modes
    assert model(torch.zeros(2, 3, 8, 8)).requires_grad


def test_fit_restores_modes_after_an_exception(index, tmp_path):
    model = network().eval()

    def breaks(outputs, batch):
        raise Stopped

    with pytest.raises(Stopped):
        train(index, tmp_path / "r.pt", epochs=1, losses=breaks, model=model)
    assert not any(m.training for m in model.modules())


def test_devices():
    assert pick_device(ComputeSection(device="cpu", threads=1)) == torch.device("cpu")
    assert torch.get_num_threads() == 1
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA GPU"):
            pick_device(ComputeSection(device="cuda"))
