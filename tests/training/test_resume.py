"""Trainings that are stopped or killed, and go on."""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from wsss.files.temporaries import temporary_of
from wsss.nets.checkpoints import load_network, read_tensors
from wsss.runtime.stopping import SIGNALS, stop_signals
from wsss.settings.sections import OptimiserSection
from wsss.training.launching import run_together
from wsss.training.resume import digest, finish

from ..conftest import ROOT
from ..interrupted_fit import equal, losses, train, train_free, train_frozen, write_set

pytestmark = pytest.mark.usefixtures("usual_signals")
SEED = int(os.environ.get("WSSS_KILLS_SEED", "0"))
"""Of the moments at which a process is killed."""


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"))


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

    given = {"optimiser": optimiser} if optimiser else {}
    with pytest.raises(Stopped):
        train(index, resume, epochs=epochs, losses=breaks, inputs=inputs, **given)


def signalled(step, *, number=signal.SIGTERM):
    """A loss during whose `step`-th call this process gets a signal."""
    calls = []

    def signalling(outputs, batch):
        calls.append(1)
        if len(calls) == step:
            os.kill(os.getpid(), number)
        return losses(outputs, batch)

    return signalling


def progress_of(resume):
    """(finished epochs, steps of the next one)."""
    state = read_tensors(resume)[1]["state"]
    return len(state["curve"]), state["step"]


@pytest.mark.parametrize(
    "optimiser",
    [OptimiserSection(lr=1e-2), OptimiserSection(kind="sgd", lr=0.05, schedule="step", milestones=[1, 3])],
    ids=["adamw-poly", "sgd-step"],
)
@pytest.mark.parametrize("epoch", [2, 4])
def test_a_resumed_training_ends_like_an_uninterrupted_one(index, tmp_path, caplog, optimiser, epoch):
    whole, record = train(index, tmp_path / "whole.safetensors", epochs=4, optimiser=optimiser)
    stop_in(index, tmp_path / "r.safetensors", epoch=epoch, optimiser=optimiser)
    caplog.set_level(logging.INFO, "wsss")
    resumed, same = train(index, tmp_path / "r.safetensors", epochs=4, optimiser=optimiser)
    assert f"resuming after epoch {epoch - 1}" in caplog.text
    assert equal(whole, resumed)
    assert [e["loss"] for e in same["loss_curve"]] == [e["loss"] for e in record["loss_curve"]]


def test_a_finished_training_is_not_repeated(index, tmp_path):
    whole, record = train(index, tmp_path / "r.safetensors", epochs=2)

    def never(outputs, batch):
        raise AssertionError

    again, same = train(index, tmp_path / "r.safetensors", epochs=2, losses=never)
    assert equal(whole, again)
    assert same["loss_curve"] == record["loss_curve"]


def test_a_resume_file_of_other_settings_is_ignored(index, tmp_path, caplog):
    whole, _ = train(index, tmp_path / "whole.safetensors", epochs=3)
    stop_in(index, tmp_path / "r.safetensors", epoch=3, epochs=3, inputs="others")
    caplog.set_level(logging.INFO, "wsss")
    found, _ = train(index, tmp_path / "r.safetensors", epochs=3)
    assert "belongs to other settings" in caplog.text
    assert equal(found, whole)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other", "flipped"])
def test_a_damaged_resume_file_is_survived(index, tmp_path, capsys, damage):
    resume = tmp_path / "r.safetensors"
    stop_in(index, resume, epoch=2, epochs=2)
    data = resume.read_bytes()
    bias = read_tensors(resume)[0]["model.backbone.0.bias"].numpy().tobytes()
    assert bias in data
    damaged = {
        "cut": data[: len(data) // 2],
        "empty": b"",
        "text": b"hello",
        "other": save({"a": torch.zeros(1)}),
        "flipped": data.replace(bias, bytes([bias[0] ^ 1]) + bias[1:]),
    }
    resume.write_bytes(damaged[damage])
    found, _ = train(index, resume, epochs=2)
    assert "cannot be read" in capsys.readouterr().err
    assert equal(found, train(index, tmp_path / "whole.safetensors", epochs=2)[0])


def test_finish_leaves_nothing(tmp_path):
    resume = tmp_path / ".resume" / "a.safetensors"
    resume.parent.mkdir()
    for name in ("a.safetensors", temporary_of(Path("a.safetensors"), pid=99_999_999)):
        (resume.parent / name).touch()
    finish(resume)
    assert not resume.parent.exists()
    finish(resume)  # nothing there is fine
    resume.parent.mkdir()
    (resume.parent / "b.safetensors").touch()
    finish(resume)
    assert (resume.parent / "b.safetensors").exists()


def test_a_finished_epoch_is_not_left_open(index, tmp_path):
    """A signal in an epoch's last step stops between two epochs; one in the very last step lets the training end."""
    whole, _ = train(index, tmp_path / "whole.safetensors", epochs=2)
    with pytest.raises(InterruptedError, match=r"^stopped by SIGINT after epoch 1; start again to go on from there$"):
        train(index, tmp_path / "r.safetensors", epochs=2, losses=signalled(2, number=signal.SIGINT))
    assert (progress_of(tmp_path / "r.safetensors")) == (1, 0)
    assert equal(whole, train(index, tmp_path / "r.safetensors", epochs=2)[0])
    assert equal(whole, train(index, tmp_path / "last.safetensors", epochs=2, losses=signalled(4))[0])


@pytest.mark.parametrize("step", [1, 9 + 4, 9 + 9 + 8])
def test_a_signal_costs_no_step(index, tmp_path, caplog, step):
    """SIGTERM during a step: that step is finished, and the next one is the first after the restart."""
    whole, record = train(index, tmp_path / "whole.safetensors", epochs=3, batch_size=1)
    with pytest.raises(
        InterruptedError,
        match=rf"^stopped by SIGTERM in epoch {(step - 1) // 9 + 1}, step {(step - 1) % 9 + 1} of 9; start again",
    ):
        train(index, tmp_path / "r.safetensors", epochs=3, batch_size=1, losses=signalled(step))
    assert progress_of(tmp_path / "r.safetensors") == divmod(step, 9)
    caplog.set_level(logging.INFO, "wsss")
    calls = []
    resumed, same = train(
        index,
        tmp_path / "r.safetensors",
        epochs=3,
        batch_size=1,
        losses=lambda *given: (calls.append(1), losses(*given))[1],
    )
    assert f"resuming after epoch {step // 9} and {step % 9} steps" in caplog.text
    assert len(calls) == 27 - step
    assert equal(whole, resumed)
    assert [e["loss"] for e in same["loss_curve"]] == [e["loss"] for e in record["loss_curve"]]


def test_signals_have_their_usual_meaning_outside(index, tmp_path):
    before = [signal.getsignal(number) for number in SIGNALS]
    train(index, tmp_path / "r.safetensors", epochs=1)
    assert [signal.getsignal(number) for number in SIGNALS] == before
    with stop_signals() as asked:
        assert asked() == 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
            assert asked() == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):  # the second Ctrl-C does not wait for the step
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize(
    ("number", "processes"),
    [(signal.SIGKILL, 1), (signal.SIGTERM, 1), pytest.param(signal.SIGTERM, 2, marks=pytest.mark.slow)],
)
def test_a_process_that_is_killed_or_stopped_goes_on(index, tmp_path, number, processes):
    """The signal reaches all processes of the group, loaders too.

    Weights are those of an uninterrupted training, bit by bit.
    """
    epochs, workers = 40, 1
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    folder.mkdir()
    (folder / "dataset").symlink_to(index.parent)
    words = [str(folder), str(epochs), str(workers), *([str(processes)] if processes > 1 else [])]
    command = [sys.executable, "-m", "tests.interrupted_fit", *words]
    resume = folder / ".resume" / "model.safetensors"
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not resume.exists():
        assert process.poll() is None, "the training ended by itself"
        assert time.monotonic() < end
        time.sleep(0.005)
    time.sleep(random.Random(f"{SEED} {number} {processes}").random() * 0.2)
    os.killpg(process.pid, number)
    output = process.communicate()[1]
    assert process.returncode == (-number if number == signal.SIGKILL else 1), (
        f"too late: raise the number of epochs\n{output}"
    )
    if number == signal.SIGTERM:
        where = r"(in epoch \d+, step 1 of 2|after epoch \d+)"
        said = rf"^InterruptedError: stopped by SIGTERM {where}; start again to go on from there$"
        assert re.search(said, output, re.M)
    assert not (folder / "model.safetensors").exists()
    assert 1 <= progress_of(resume)[0] < epochs
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.PIPE)
    if processes > 1:
        run_together(
            train_frozen,
            {"folder": whole, "index": index, "epochs": epochs, "workers": workers, "dropout": 0.3},
            count=processes,
            cuda=False,
        )
    else:
        train_free(folder=whole, index=index, epochs=epochs)
    states = [load_network(where / "model.safetensors")[0] for where in (folder, whole)]
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


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
