"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photographs and weights, or a skip."""
    folder = Path(os.environ.get("WSSS_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "voc12_sub").is_dir():
        pytest.skip(f"no real photographs at {folder}: set WSSS_SHARED to the folder that holds data/voc12_sub")
    return folder
