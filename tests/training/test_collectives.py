"""Trainings that several processes share: the same result, one that writes, and an end when one of them fails."""

from __future__ import annotations

import time

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from wsss.nets.checkpoints import load_network, read_tensors
from wsss.settings.sections import ComputeSection
from wsss.training.collectives import convert_sync_batchnorm
from wsss.training.launching import processes_for, run_together

from ..interrupted_fit import train_frozen, write_set
from ..shared_fit import check_exchanges, check_refusals, train_until_stopped, train_with


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"))


def together(function, *, patience=60.0, **arguments):
    run_together(function, arguments, count=2, cuda=False, patience=patience)


def difference(a, b):
    """Largest difference between the weights of two files."""
    first, second = load_network(a)[0], load_network(b)[0]
    assert first.keys() == second.keys()
    return max(float((first[k].double() - second[k].double()).abs().max()) for k in first)


def test_what_processes_exchange(index):
    together(check_exchanges, index=index)


def test_what_they_refuse_together(index, tmp_path):
    together(check_refusals, folder=tmp_path, index=index)


def test_a_shared_training_ends_like_that_of_one_process(index, tmp_path):
    """Nine images in batches of four, two a process."""
    train_frozen(folder=tmp_path / "one", index=index, epochs=3)
    together(train_frozen, folder=tmp_path / "two", index=index, epochs=3, workers=2)
    assert difference(tmp_path / "one" / "model.safetensors", tmp_path / "two" / "model.safetensors") < 1e-6
    one, two = (load_network(tmp_path / n / "model.safetensors")[1]["record"] for n in ("one", "two"))
    assert [e["loss"] for e in two["loss_curve"]] == pytest.approx([e["loss"] for e in one["loss_curve"]], rel=1e-6)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert (one["steps"], one["images"]) == (two["steps"], two["images"])


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("killed", OSError, r"process 2 of 2 was killed by SIGKILL"),
        ("hangs", OSError, r"process 2 of 2 did not answer within 12 s"),
        ("bug", RuntimeError, r"process 2 of 2 failed:\n(.*\n)*.*KeyError: 'misspelt'"),
        ("damaged", ValueError, r"gone\.png: no such image$"),
    ],
)
def test_a_failure_of_one_process_ends_all_with_its_cause(index, tmp_path, what, error, words):
    with pytest.raises(error, match=words):
        together(train_with, what=what, folder=tmp_path, index=index, patience=12.0 if what == "hangs" else 60.0)
    if what == "killed":
        seconds = time.time() - (tmp_path / "died").stat().st_mtime
        print(f"reported {seconds:.1f} s after the death")
        assert seconds < 20
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("first", [1, 2])
def test_a_stopped_training_goes_on_with_another_number_of_processes(index, tmp_path, first):
    """SIGTERM to the second process alone, in the middle of an epoch, ends both.

    One process then does the rest of the epoch, or the other way round.
    """
    train_until_stopped(folder=tmp_path / "whole", index=index, epochs=3)
    ways = [lambda **a: train_until_stopped(**a), lambda **a: together(train_until_stopped, **a)]
    given = {"folder": tmp_path / "again", "index": index, "epochs": 3}
    with pytest.raises(InterruptedError, match=r"^stopped by SIGTERM in epoch 2, step 3 of 4; start again"):
        ways[first - 1](**given, stop=(2, 3), to=first - 1)
    assert not (tmp_path / "again" / "model.safetensors").exists()
    saved = read_tensors(tmp_path / "again" / ".resume" / "model.safetensors")[1]["state"]
    assert (len(saved["curve"]), saved["step"]) == (1, 3)
    ways[2 - first](**given)
    assert difference(tmp_path / "whole" / "model.safetensors", tmp_path / "again" / "model.safetensors") < 1e-6


def test_devices(monkeypatch, caplog):
    cpu, auto = ComputeSection(device="cpu"), ComputeSection(device="auto")
    assert [processes_for(n, compute=cpu) for n in (0, 1, 2, 3)] == [1, 1, 2, 3]
    caplog.set_level("INFO", "wsss")
    if not torch.cuda.is_available():
        assert processes_for(2, compute=auto) == 1
        assert "2 devices asked for: without a GPU there is one process" in caplog.text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert processes_for(1, compute=auto) == 1
    with pytest.raises(ValueError, match="--devices 2, but torch finds 1 GPU;"):
        processes_for(2, compute=auto)


def test_shared_batchnorm_keeps_activations():
    """timm's layers hold their activation, which torch's own conversion drops."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).eval()
    x = torch.randn(2, 3, 9, 9)
    expected, parameters = model(x), [id(p) for p in model.parameters()]
    convert_sync_batchnorm(model)
    assert [type(m).__name__ for m in model[1::2]] == ["SyncBatchNormAct", "SyncBatchNorm"]
    assert torch.equal(model(x), expected)
    assert [id(p) for p in model.parameters()] == parameters
