"""Keyed draws: fixed numbers, so that a change of the keys cannot pass unseen, and keys that do not collide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss.training.draws import generator, key

PARTS = st.lists(st.integers(0, 99) | st.text("ab1_", max_size=4), max_size=4)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((0,), 4246866556266386882),
        ((0, "train_classifier", 1, 0, "2007_000032"), 8277373627213561935),
        ((7, "train_segmenter", 0, "weights"), 1337973704376049229),
    ],
)
def test_keys_are_the_numbers_they_always_were(parts, expected):
    """Other numbers would change every result of a seed."""
    assert key(*parts) == expected


def test_a_generator_gives_the_numbers_it_always_gave():
    found = generator(0, "train_classifier", 1, 0, "2007_000032").bit_generator.random_raw(3)
    assert found.tolist() == [6048306130400380743, 15896582997339946006, 11931704540159808894]
    assert generator(7, "x", 2).permutation(9).tolist() == [4, 0, 2, 3, 8, 6, 7, 5, 1]
    np.testing.assert_allclose(generator(7, "x", 2).random(2), [0.89119306, 0.56256238], atol=1e-8)


def test_neighbouring_parts_do_not_run_together():
    assert key(0, 1, 11) != key(0, 11, 1)
    assert key(0, "a", "b") != key(0, "ab")
    assert key(1, 2) != key(12)


def test_keys_use_63_bits():
    """Over 400 keys every bit up to the 63rd is set in some and clear in some, and no higher one is ever set."""
    keys = [key(0, k) for k in range(400)]
    assert all({(k >> bit) & 1 for k in keys} == {0, 1} for bit in range(63))
    assert max(keys) < 2**63


@settings(derandomize=True, database=None, max_examples=200, deadline=None)
@given(PARTS, PARTS)
def test_two_draws_share_a_key_only_if_their_parts_read_alike(first, second):
    assert (key(3, *first) == key(3, *second)) is ([str(p) for p in first] == [str(p) for p in second])
