"""Statistics of ragged groups: rows of any order, each belonging to one group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdro.numerics.arrays import BoolArray, FloatArray, IntArray


def segment_sum(value_R: FloatArray, position_R: IntArray, num_groups: int) -> FloatArray:
    """Sum of each group, independent of the order of the rows, shape (P,); zero for empty groups.

    Floating sums depend on their order, so rows are sorted by group and value first, unless every value
    is a small integer (rewards of 0 and 1), whose sums are exact in any order.
    """
    if not _exact_in_any_order(value_R):
        order = np.lexsort((value_R, position_R))
        value_R, position_R = value_R[order], position_R[order]
    return np.bincount(position_R, value_R, num_groups).astype(np.float64, copy=False)


def _exact_in_any_order(value_R: FloatArray) -> bool:
    bounded = bool((np.abs(value_R) < 2.0**20).all())
    return bounded and len(value_R) < 2**30 and bool((value_R == np.rint(value_R)).all())


@dataclass(frozen=True)
class Segments:
    """Items sorted into the classes that are present.

    Attributes:
        label_K: Classes that have items, increasing, shape (K,).
        count_K: Items of each, shape (K,).
        order_P: Items by class, in their own order inside it, shape (P,).
    """

    label_K: IntArray
    count_K: IntArray
    order_P: IntArray

    @property
    def start_K(self) -> IntArray:
        """Where each class starts in `order_P`, shape (K,)."""
        return np.cumsum(self.count_K) - self.count_K

    def mean(self, value_PA: FloatArray) -> FloatArray:
        """Mean of each class over its items, shape (K, A)."""
        total_KA = np.add.reduceat(value_PA[self.order_P], self.start_K, axis=0)
        return total_KA / self.count_K[:, None]

    def spread(self, total_K: IntArray) -> IntArray:
        """Divide the total of each class evenly over its items; the first ones get the rest, (P,)."""
        base_K, rest_K = np.divmod(total_K, self.count_K)
        rank_P = np.arange(len(self.order_P)) - np.repeat(self.start_K, self.count_K)
        share_P = np.empty(len(self.order_P), np.int64)
        extra_P = rank_P < np.repeat(rest_K, self.count_K)
        share_P[self.order_P] = np.repeat(base_K, self.count_K) + extra_P
        return share_P


def segments(label_P: IntArray) -> Segments:
    """Sort items into the classes that are present, from the class of each item, 0 or more.

    >>> segments(np.array([2, 0, 2])).mean(np.array([[1.0], [5.0], [3.0]])).tolist()
    [[5.0], [2.0]]
    """
    count = np.bincount(label_P)
    label_K = np.flatnonzero(count)
    return Segments(label_K, count[label_K], np.argsort(label_P, kind="stable"))


@dataclass(frozen=True)
class GroupStatistics:
    """Count, mean and standard deviation of each group, shape (P,) each; NaN where undefined."""

    count_P: IntArray
    mean_P: FloatArray
    std_P: FloatArray


def group_statistics(
    value_R: FloatArray, position_R: IntArray, num_groups: int, valid_R: BoolArray | None = None
) -> GroupStatistics:
    """Mean and sample standard deviation (ddof 1) of ragged groups, over the valid rows if given.

    The mean is NaN for empty groups, the deviation for groups of fewer than two rows.

    >>> group_statistics(np.array([1.0, 5.0, 3.0]), np.array([0, 1, 0]), 2).mean_P.tolist()
    [2.0, 5.0]
    """
    if valid_R is not None:
        value_R, position_R = value_R[valid_R], position_R[valid_R]
    count_P = np.bincount(position_R, minlength=num_groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_P = segment_sum(value_R, position_R, num_groups) / count_P
        square_R = (value_R - mean_P[position_R]) ** 2
        variance_P = segment_sum(square_R, position_R, num_groups) / (count_P - 1)
        return GroupStatistics(count_P, mean_P, np.sqrt(np.where(count_P > 1, variance_P, np.nan)))


def rank_within(position_R: IntArray) -> IntArray:
    """How many earlier rows belong to the same group, shape (R,).

    >>> rank_within(np.array([2, 0, 2, 2, 0])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(position_R, kind="stable")
    ordered = position_R[order]
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    start = np.flatnonzero(first)
    rank_R = np.empty(len(ordered), np.int64)
    rank_R[order] = np.arange(len(ordered)) - start[np.cumsum(first) - 1]
    return rank_R
