"""Hashes by row: of everything in a row and its number, in any order, followed or computed anew."""

from __future__ import annotations

import numpy as np
import pytest

from gdro.numerics.hashing import RunningHash, hash_rows

ARRAYS = {
    "float": np.random.default_rng(0).random(70_000),
    "small": np.arange(70_000).astype(np.int8),
    "wide": np.random.default_rng(0).random((50, 4)).astype(np.float32),
    "odd": np.random.default_rng(0).integers(0, 9, (50, 13)).astype(np.uint8),
    "empty": np.zeros((0, 13), np.uint8),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_parts_add_up_in_any_order(array):
    rows = np.random.default_rng(1).permutation(len(array))
    parts = np.array_split(rows, 3)
    assert sum(hash_rows(array[part], part) for part in parts) % 2**64 == hash_rows(array)


@pytest.mark.parametrize(
    "array", [a for a in ARRAYS.values() if len(a)], ids=[n for n in ARRAYS if n != "empty"]
)
def test_every_bit_and_every_place_counts(array):
    before, hashes = hash_rows(array), set()
    flat = array.copy().view(np.uint8).reshape(-1)
    for bit in np.random.default_rng(2).choice(8 * len(flat), 200, replace=False).tolist():
        flat[bit // 8] ^= 1 << (bit % 8)
        changed = flat.view(array.dtype).reshape(array.shape)
        hashes.add(hash_rows(changed))
        flat[bit // 8] ^= 1 << (bit % 8)
    assert len(hashes | {before}) == 201
    assert hash_rows(array[::-1]) != before


def test_a_hash_is_the_same_in_every_release():
    """Ranks of one run share a release; a change of this number is no fault, but shall be meant."""
    assert hash_rows(np.array([0, 1, 2])) == 0xA7E73FA62EBA6AA8


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_a_running_hash_is_that_of_the_array(array):
    array, rng, running = array.copy(), np.random.default_rng(3), RunningHash()
    assert not running.active
    assert running.value(array) == hash_rows(array)
    for _ in range(5):
        rows = rng.choice(len(array), min(20, len(array)), replace=False)
        before = array[rows]
        array[rows] = array[rng.permutation(len(array))[: len(rows)]]
        running.change(rows, before, array[rows])
        assert running.value(array) == hash_rows(array)
        assert running.fits(array)
