"""Persistent arrays: every version keeps its rows, hash and labels, whichever is read or put next."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.numerics.hashing import hash_rows
from gdro.numerics.persistent import PersistentArray


@given(data=st.data(), num=st.integers(1, 40), labels=st.sampled_from([0, 3]))
def test_versions_are_those_of_copies(data, num, labels):
    """A tree of versions, each changed and read in any order, against a copy of the array for each."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    start = rng.integers(0, 3, num)
    versions = [(PersistentArray(start, labels), start)]
    if data.draw(st.booleans(), "followed"):
        assert versions[0][0].hash == hash_rows(start)
        if labels:
            assert versions[0][0].sizes.tolist() == np.bincount(start, minlength=3).tolist()
    for _ in range(12):
        array, plain = versions[data.draw(st.integers(0, len(versions) - 1), "version")]
        rows = rng.choice(num, rng.integers(0, num + 1), replace=False)
        values = rng.integers(0, 3, len(rows))
        copy = plain.copy()
        copy[rows] = values
        versions.append((array.put(rows, values), copy))
        array, plain = versions[data.draw(st.integers(0, len(versions) - 1), "read")]
        assert array[:].tolist() == plain.tolist()
        assert array.hash == hash_rows(plain)
        assert array.hash_fits
        if labels:
            assert array.sizes.tolist() == np.bincount(plain, minlength=3).tolist()
            for label in range(3):
                rows = np.flatnonzero(plain == label)
                assert array.index.select(label, np.arange(len(rows))).tolist() == rows.tolist()
    for array, plain in versions:
        assert np.array_equal(array, plain)


def test_what_is_read_is_a_copy_or_read_only():
    array = PersistentArray(np.zeros(3))
    array[:][0] = 1.0
    np.asarray(array)[0] = 1.0
    assert array[:].tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="read-only"):
        array.array[0] = 1.0


def test_a_given_array_is_copied():
    given_N = np.zeros(3)
    array = PersistentArray(given_N)
    given_N[0] = 1.0
    assert array[0] == 0.0


def test_a_change_behind_its_back_shows_in_the_hash():
    array = PersistentArray(np.zeros(3))
    assert array.hash_fits  # never asked for, so nothing to compare
    assert isinstance(array.hash, int)
    array._store.array[1] = 5.0
    assert not array.hash_fits


def test_old_versions_cost_nothing_once_they_are_forgotten():
    """Older versions refer to newer ones, never the other way: a long run keeps one array."""
    array = PersistentArray(np.zeros(3))
    for i in range(5):
        array = array.put(np.array([i % 3]), float(i))
    assert array._newer is None
    assert array._rows is None
