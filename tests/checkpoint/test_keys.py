"""Key hashes: stable, independent, distinct."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gdro.numerics import hashing
from gdro.numerics.hashing import hash_keys

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


def slow_hash(key):
    """The same in plain integers."""
    mask = 2**64 - 1

    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    state = mix((len(key) + 0x9E3779B97F4A7C15) & mask)
    for character in key:
        state = ((state ^ ord(character)) * 0xD6E8FEB86659FD93) & mask
        state ^= state >> 32
    return mix(state)


def test_golden_values():
    """Checkpoints hold these: once released, never change them."""
    found = [int(x) for x in hash_keys(["What is 2 + 2?", "prompt-17"])]
    assert found == GOLDEN


GOLDEN = [9358877974670620788, 2860258360326744909]


@given(st.lists(TEXT, max_size=12))
def test_against_plain_integers(texts):
    assert [int(x) for x in hash_keys(texts)] == [slow_hash(t) for t in texts]


@given(st.lists(TEXT, min_size=2, max_size=12), st.integers(1, 5))
def test_a_hash_does_not_depend_on_other_keys_or_chunks(texts, chunk):
    whole = hash_keys(texts)
    assert [int(hash_keys([t])[0]) for t in texts] == whole.tolist()
    kept = hashing._CHUNK
    try:
        hashing._CHUNK = chunk
        assert np.array_equal(hash_keys(texts), whole)
    finally:
        hashing._CHUNK = kept


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
