"""Saved networks: what comes back, and what is refused."""

from __future__ import annotations

import signal

import pytest
import torch
from torch import nn

from wsss.artefacts import ArtefactError
from wsss.networks import load_network, restore_network, save_network

from .interrupted_fit import Network, equal, network


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


def test_what_interrupts_a_save_is_said_and_not_what_torch_makes_of_it(tmp_path):
    """At many moments, so that some are in the midst of the file."""
    state = {str(k): torch.zeros(10_000) for k in range(300)}

    def interrupt(number, frame):
        raise InterruptionError("now")

    before, ended = signal.signal(signal.SIGALRM, interrupt), []
    try:
        for moment in [0.001 * k for k in range(1, 40)]:
            path = tmp_path / f"{moment}.pt"
            try:
                signal.setitimer(signal.ITIMER_REAL, moment)
                save_network(path, state=state, meta={})
                signal.setitimer(signal.ITIMER_REAL, 0)
            except InterruptionError:
                ended.append(moment)
            else:
                load_network(path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(ended) >= 3
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".pt"]


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
