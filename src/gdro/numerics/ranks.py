"""Rank and select: the r-th row with a label, in the time of a few blocks of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gdro.numerics.arrays import IntArray

BLOCK = 16  # rows of a block, blocks of a block of the next level, and so on
_TOP = 4096  # most blocks of the level that is searched whole
_COUNTS = (np.uint8, np.uint16, np.uint16, *[np.int64] * 9)  # by level: its largest count fits


def blocked(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """A copy of an array as blocks of 16 rows, shape (blocks, 16), and its view as rows, shape (N,)."""
    num = len(values)
    block = np.zeros((-(-num // BLOCK), BLOCK), values.dtype)
    rows = block.reshape(-1)[:num]
    rows[:] = values
    return block, rows


class RankIndex:
    """Counts of each label by block, and by block of blocks: a tree of counts (rank and select).

    The row of a given rank depends on the labels alone, not on the order of their changes, so that an
    index which is built from a checkpoint draws the same rows as one that followed the whole run.

    Args:
        block: Labels as `blocked` returns them; the caller changes them, and says so to `change`.
        num: Number of rows, N.
        num_labels: Number of labels, L.
        least: Smallest label.

    References:
        Jacobson, 1989, "Space-efficient Static Trees and Graphs" (rank and select).

    >>> block, rows = blocked(np.array([1, 0, 1, 1], np.int8))
    >>> RankIndex(block, 4, num_labels=2).select(1, np.array([2, 0])).tolist()
    [3, 0]
    """

    def __init__(self, block: npt.NDArray[Any], num: int, num_labels: int, least: int = 0) -> None:
        self._block, self._least = block, least
        label_N = block.reshape(-1)[:num].astype(np.int64) - least
        self.size_L = np.bincount(label_N, minlength=num_labels)
        size = len(block)
        count = np.bincount(label_N * size + np.arange(num) // BLOCK, minlength=num_labels * size)
        count_LK: npt.NDArray[Any] = count.reshape(num_labels, size)
        self._levels: list[npt.NDArray[Any]] = []
        for dtype in _COUNTS:
            whole = np.zeros((num_labels, -(-size // BLOCK) * BLOCK), dtype)
            whole[:, :size] = count_LK
            self._levels.append(whole)
            if size <= _TOP:
                break
            count_LK = whole.reshape(num_labels, -1, BLOCK).sum(axis=2, dtype=np.int64)
            size = count_LK.shape[1]

    def change(self, rows: IntArray, before: npt.NDArray[Any], after: npt.NDArray[Any]) -> None:
        """Follow a change of the labels of distinct rows, shape (P,) each."""
        other = np.flatnonzero(before != after)
        if not len(other):
            return
        place = rows[other]
        old, new = (a[other].astype(np.int64) - self._least for a in (before, after))
        np.subtract.at(self.size_L, old, 1)
        np.add.at(self.size_L, new, 1)
        for count_LK in self._levels:
            place = place // BLOCK
            flat, width = count_LK.reshape(-1), count_LK.shape[1]
            np.subtract.at(flat, old * width + place, np.ones((), count_LK.dtype))
            np.add.at(flat, new * width + place, np.ones((), count_LK.dtype))

    def select(self, label: int, rank_K: IntArray) -> IntArray:
        """Rows of the given ranks, from 0, among those with the `label`-th label, shape (K,)."""
        order = rank_K.argsort()
        rank = rank_K[order]  # in order, neighbours are read from near places
        top = self._levels[-1][label].cumsum(dtype=np.int64)
        place = top.searchsorted(rank, side="right")
        rank = rank - np.where(place > 0, top[place - 1], 0)
        for count_LK in reversed(self._levels[:-1]):
            count_KJ = count_LK[label].reshape(-1, BLOCK).take(place, axis=0)
            place, rank = _descended(count_KJ, place, rank)
        label_KJ = self._block.take(place, axis=0)
        row_K = np.empty_like(place)
        row_K[order] = _descended(label_KJ == label + self._least, place, rank)[0]
        return row_K


def _descended(count_KJ: npt.NDArray[Any], place: IntArray, rank: IntArray) -> tuple[IntArray, IntArray]:
    """Places one level below, and the ranks inside of them, from the counts of each place's 16 parts."""
    narrow = np.uint8 if count_KJ.dtype == np.bool_ else np.int64
    count_JK = np.ascontiguousarray(count_KJ.T).astype(narrow)
    # Sums by hand: cumsum along a short axis takes many times longer.
    for part in range(1, BLOCK):
        count_JK[part] += count_JK[part - 1]
    passed_JK = count_JK <= rank.astype(narrow)
    part = passed_JK.sum(axis=0, dtype=np.uint8)
    before = (count_JK * passed_JK).max(axis=0)
    return place * BLOCK + part, rank - before
