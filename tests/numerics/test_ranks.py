"""Rows by label and rank, against a search through all labels."""

from __future__ import annotations

import numpy as np
import pytest

from gdro.numerics.ranks import RankIndex, blocked


@pytest.mark.parametrize("num", [1, 15, 16, 17, 300, 70_000, 1_200_000])
def test_select_is_the_row_that_a_search_gives(num):
    rng = np.random.default_rng(num)
    block, label_N = blocked(rng.choice([-1, 0, 1, 2], num, p=[0.3, 0.6, 0.09, 0.01]).astype(np.int8))
    index = RankIndex(block, num, 4, least=-1)
    for _ in range(3):
        for label in range(4):
            rows = np.flatnonzero(label_N == label - 1)
            assert index.size_L[label] == len(rows)
            rank_K = rng.integers(0, max(1, len(rows)), min(len(rows), 500))
            assert np.array_equal(index.select(label, rank_K), rows[rank_K])
            if len(rows):
                ends = np.array([len(rows) - 1, 0])
                assert np.array_equal(index.select(label, ends), rows[ends])
        rows = rng.choice(num, min(num, 1000), replace=False)
        before, after = label_N[rows].copy(), rng.integers(-1, 3, len(rows))
        label_N[rows] = after
        index.change(rows, before, after)


def test_an_index_that_followed_is_one_that_was_built_anew():
    rng = np.random.default_rng(0)
    block, label_N = blocked(rng.integers(0, 3, 10_000))
    followed = RankIndex(block, 10_000, 3)
    for _ in range(20):
        rows = rng.choice(10_000, 500, replace=False)
        before, after = label_N[rows].copy(), rng.integers(0, 3, 500)
        label_N[rows] = after
        followed.change(rows, before, after)
    anew = RankIndex(block, 10_000, 3)
    assert all(np.array_equal(a, b) for a, b in zip(followed._levels, anew._levels, strict=True))


def test_blocks_and_rows_share_memory():
    block, rows = blocked(np.arange(17))
    rows[16] = 99
    assert block.shape == (2, 16)
    assert block[1, 0] == 99
