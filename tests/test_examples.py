"""The examples in the docstrings of the methods and of the pure modules' main functions are run as they are."""

from __future__ import annotations

import doctest
import importlib

import pytest

from wsss.methods import BUILT_IN

STAGES = "wsss.stages"
PURE = ("seeds.regions", "pseudo.seedmask", "pseudo.crf", "instances.retrieval")


def run(name: str) -> doctest.TestResults:
    return doctest.testmod(importlib.import_module(name), optionflags=doctest.IGNORE_EXCEPTION_DETAIL)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_built_in_method_has_an_example_that_works(kind):
    module = importlib.import_module(BUILT_IN[kind].module)
    assert "Example:\n" in module.Method.__doc__
    assert run(module.__name__).failed == 0


@pytest.mark.parametrize("name", PURE)
def test_examples_of_pure_modules_work(name):
    found = run(f"{STAGES}.{name}")
    assert found.attempted >= 3
    assert found.failed == 0
