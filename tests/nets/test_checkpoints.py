"""Saved networks: what comes back, and what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from wsss.files.described_tensors import FORMAT, KEY
from wsss.files.errors import ArtefactError
from wsss.nets.checkpoints import load_network, restore_network, save_network

from ..interrupted_fit import Network, equal, network

META = {"classes": ["background", "cat"], "lr": 0.1, "settings": {"round": 1, "previous": None}}


def test_a_network_comes_back(tmp_path):
    model = network().to(memory_format=torch.channels_last)
    save_network(tmp_path / "n.safetensors", state=model.state_dict(), meta=META)
    state, found = load_network(tmp_path / "n.safetensors")
    assert found == META
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    other = Network()
    assert restore_network(other, tmp_path / "n.safetensors") == META
    assert equal(other, model)


def test_the_same_network_gives_the_same_bytes(tmp_path):
    save_network(tmp_path / "a.safetensors", state=network().state_dict(), meta=META)
    backwards = dict(reversed(network().to(memory_format=torch.channels_last).state_dict().items()))
    save_network(tmp_path / "b.safetensors", state=backwards, meta=META)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_other_programs_read_it(tmp_path):
    """It is a plain safetensors file; its description is JSON under one key of the metadata."""
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3, dtype=torch.bfloat16), "c": torch.tensor(7)}
    save_network(tmp_path / "n.safetensors", state=state, meta=META)
    found = load_file(tmp_path / "n.safetensors")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in state.items())
    with safe_open(tmp_path / "n.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert list(metadata) == [KEY]
    assert json.loads(metadata[KEY])["format"] == FORMAT
    assert json.loads(metadata[KEY])["description"] == META


def test_a_network_of_an_earlier_version_is_read(tmp_path):
    torch.save({"format": 1, "meta": META, "state": network().state_dict()}, tmp_path / "n.pt")
    other = Network()
    assert restore_network(other, tmp_path / "n.pt", class_names=META["classes"]) == META
    assert equal(other, network())


class InterruptionError(RuntimeError):
    """Like what torch raises, at any moment, when a loader process dies."""


def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch):
    class Interrupted(io.FileIO):
        def write(self, piece):
            super().write(piece[:100])
            raise InterruptionError("now")

    monkeypatch.setattr(Path, "open", lambda path, mode: Interrupted(path, mode))
    with pytest.raises(InterruptionError, match="now"):
        save_network(tmp_path / "n.safetensors", state=network().state_dict(), meta={})
    assert list(tmp_path.iterdir()) == []


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
    save_file(network().state_dict(), tmp_path / "plain.safetensors")
    save_network(tmp_path / "whole.safetensors", state=network().state_dict(), meta={})
    data = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[:500])
    place = data.index(network().state_dict()["backbone.0.weight"].numpy().tobytes()) + 7
    flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    (tmp_path / "flipped.safetensors").write_bytes(flipped)
    expected = {
        "flipped.safetensors": "damaged one .*flipped bits.*--forcerun",
        "object.pt": "not a network of this package",
        "bare.pt": "not a network of this package",
        "plain.safetensors": "no safetensors file with a description",
        "cut.safetensors": "damaged",
        "format.pt": "format 2, expected 1",
        "gone.safetensors": "no such network",
    }
    for name, words in expected.items():
        with pytest.raises(ArtefactError, match=rf"{name}: .*{words}"):
            load_network(tmp_path / name)
    assert Thing.made == 0


def test_a_network_of_another_shape_is_refused(tmp_path):
    save_network(tmp_path / "n.safetensors", state=nn.Conv2d(1, 2, 3).state_dict(), meta={})
    for other in (nn.Conv2d(1, 3, 3), nn.Linear(2, 2), network()):
        with pytest.raises(ArtefactError, match=r"n\.safetensors: made for another network .*train it again"):
            restore_network(other, tmp_path / "n.safetensors")
