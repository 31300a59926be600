"""Bad inputs through the reader or stage that meets them: one clear error or the right answer.

Nothing hangs, dies, is executed, or is left behind.
"""

from __future__ import annotations

import itertools

import pytest

from . import artefacts, configurations, images, outlines, stored_maps, tables
from .attempt import Case, faults_of

BLOCK = 25
"""Inputs that one process reads: a fork costs as much as many readers."""


def blocks() -> dict[str, list[Case]]:
    """All inputs, each written by code when it is needed, in blocks of one kind."""
    modules = (tables, images, outlines, stored_maps, artefacts, configurations)
    cases = sorted((case for module in modules for case in module.cases()), key=lambda case: case.kind)
    assert len({(case.kind, case.name) for case in cases}) == len(cases)
    return {
        f"{kind.replace(' ', '_')}-{number}": list(block)
        for kind, group in itertools.groupby(cases, key=lambda case: case.kind)
        for number, block in enumerate(_batched(list(group)))
    }


def _batched(cases: list[Case]) -> list[list[Case]]:
    return [cases[first : first + BLOCK] for first in range(0, len(cases), BLOCK)]


BLOCKS = blocks()


@pytest.mark.parametrize("block", BLOCKS)
def test_bad_inputs(block, tmp_path):
    assert faults_of(BLOCKS[block], tmp_path) == []
