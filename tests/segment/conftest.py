"""The drawn images and a segmenter trained on them for one epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.segment.drawn_set import Drawn, draw, settings, train


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Drawn:
    torch.set_num_threads(1)
    return draw(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def segmenter(drawn, tmp_path_factory) -> Path:
    """A segmenter trained with PSL, barely."""
    return train(drawn, tmp_path_factory.mktemp("psl"), settings(epochs=1, psl=True))
