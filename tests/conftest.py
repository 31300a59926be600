"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .toy_run import Project

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The toy run, made once for all tests; who changes it puts it back."""
    from .toy_run import Project

    project = Project(tmp_path_factory.mktemp("toy") / "a folder with blanks")
    done = project.snakemake()
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return project


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Project:
    """A run up to its first pseudo masks, undisturbed, to compare disturbed ones with; nobody changes it."""
    from .toy_run import SMALL, Project

    project = Project(tmp_path_factory.mktemp("prepared") / "run")
    done = project.snakemake("results/toy/cam/pseudo/plain/cycle-0/train-0.h5", over=SMALL)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return project


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photographs and weights, or a skip."""
    folder = Path(os.environ.get("WSSS_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "voc12_sub").is_dir():
        pytest.skip(f"no real photographs at {folder}: set WSSS_SHARED to the folder that holds data/voc12_sub")
    return folder


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Signals as in a shell's foreground: a background job of a script is started with SIGINT ignored, which the package leaves so."""
    from wsss.runtime.stopping import SIGNALS

    before = {
        number: signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        for number in SIGNALS
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
