"""Key hashes: stable, independent, distinct."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gdro import keys
from gdro.keys import hash_keys

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


def slow_hash(key):
    """The same in plain integers."""
    mask, state = 2**64 - 1, 0x9E3779B97F4A7C15
    for character in key + "\x01":
        x = state ^ (ord(character) + 1)
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        state = x ^ (x >> 31)
    return state


def test_golden_values():
    """Checkpoints of older versions hold these: never change them."""
    found = [int(x) for x in hash_keys(["What is 2 + 2?", "prompt-17"])]
    assert found == GOLDEN


GOLDEN = [1182165649274410848, 16678190749442132022]


@given(st.lists(TEXT, max_size=12))
def test_against_plain_integers(texts):
    assert [int(x) for x in hash_keys(texts)] == [slow_hash(t) for t in texts]


@given(st.lists(TEXT, min_size=2, max_size=12), st.integers(1, 5))
def test_a_hash_does_not_depend_on_other_keys_or_chunks(texts, chunk):
    whole = hash_keys(texts)
    assert [int(hash_keys([t])[0]) for t in texts] == whole.tolist()
    kept = keys._CHUNK
    try:
        keys._CHUNK = chunk
        assert np.array_equal(hash_keys(texts), whole)
    finally:
        keys._CHUNK = kept


def test_trailing_nul_and_case_and_order_count():
    alike = ["a", "a\0", "a\0\0", "\0a", "A", "a ", " a", "aa", "ab", "ba", "a\x01", "\0", "\0\0"]
    assert len(set(hash_keys(alike).tolist())) == len(alike)


def test_a_hundred_thousand_keys_are_distinct():
    texts = [f"{i}" for i in range(50_000)] + [f"question {i} of many" for i in range(50_000)]
    hashes = hash_keys(texts)
    assert len(np.unique(hashes)) == 100_000
    # Every bit is set in about half of them.
    bits = (hashes[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.01


def test_no_keys():
    assert hash_keys([]).shape == (0,)
    assert hash_keys([]).dtype == np.uint64
