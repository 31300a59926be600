"""Saved networks: what comes back, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from torch import nn

from wsss.files.errors import ArtefactError
from wsss.nets.checkpoints import load_network, restore_network, save_network

from ..interrupted_fit import Network, equal, network


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


class InterruptionError(RuntimeError):
    """Like what torch raises, at any moment, when a loader process dies."""


def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch):
    class Interrupted(io.FileIO):
        def write(self, piece):
            super().write(piece[:100])
            raise InterruptionError("now")

    monkeypatch.setattr(Path, "open", lambda path, mode: Interrupted(path, mode))
    with pytest.raises(InterruptionError, match="now"):
        save_network(tmp_path / "n.pt", state=network().state_dict(), meta={})
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
