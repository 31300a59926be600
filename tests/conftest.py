"""Fixtures shared by all tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .toy_run import Project

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
ROOT = Path(__file__).parent.parent


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of xdist's workers makes. The others wait for it and copy it, because tests change it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = factory.mktemp(name) / "a folder with blanks"
        make(folder)
        return folder
    shared = factory.getbasetemp().parent / name  # the workers' folders are in one
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.with_suffix(".done").exists():
            shutil.rmtree(shared, ignore_errors=True)  # of a worker that failed
            make(shared)
            shared.with_suffix(".done").touch()
    return Path(shutil.copytree(shared, factory.mktemp(name) / "a folder with blanks", symlinks=True))


def run_of(factory: pytest.TempPathFactory, name: str, *targets: str, over: dict | None = None) -> Project:
    """A toy run, made once for all workers."""
    from .toy_run import Project

    def make(folder: Path) -> None:
        done = Project(folder).snakemake(*targets, over=over)
        assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]

    return Project.at(made_once(factory, name, make))


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The toy run. A test that changes it restores it."""
    return run_of(tmp_path_factory, "finished")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Project:
    """A run up to its first pseudo masks, to compare disturbed runs with. No test changes it."""
    from .toy_run import SMALL

    return run_of(tmp_path_factory, "prepared", "results/toy/cam/pseudo/plain/cycle-0/train-0.h5", over=SMALL)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photographs and weights, or a skip."""
    folder = Path(os.environ.get("WSSS_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "voc12_sub").is_dir():
        pytest.skip(f"no real photographs at {folder}: set WSSS_SHARED to the folder that holds data/voc12_sub")
    return folder


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Signals as in a shell's foreground: a script's background job ignores SIGINT, which the package respects."""
    from wsss.runtime.stopping import SIGNALS

    before = {
        number: signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        for number in SIGNALS
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
