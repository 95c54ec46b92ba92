"""Bins: of difficulty, of a column of the pool, or of both."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from gdro.errors import StrategyError
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.problem import Problem
from gdro.types import UNSEEN

Bins = Literal["difficulty", "column", "product"]
_MOST_BINS = 512


def rebin(value: FloatArray, old: IntArray, edges: FloatArray, delta: float) -> IntArray:
    """Bins with hysteresis: a rising estimate must pass an edge by delta, so must a falling one.

    Args:
        value: Estimates, shape (P,).
        old: Bins so far (-1: none yet), shape (P,).
        edges: Increasing, shape (B-1,).
        delta: Hysteresis.

    Returns:
        Bins 0..B-1, shape (P,). Several bins may be crossed at once.
    """
    if not (old == UNSEEN).any():
        return _moved(value, old, edges, delta)
    fresh = np.searchsorted(edges, value, side="right")
    return np.where(old == UNSEEN, fresh, _moved(value, old, edges, delta))


def _moved(value: FloatArray, old: IntArray, edges: FloatArray, delta: float) -> IntArray:
    risen = (edges + delta).searchsorted(value, side="right")
    fallen = (edges - delta).searchsorted(value, side="left")
    return np.minimum(np.maximum(old, risen), np.maximum(fallen, risen))


@dataclass(frozen=True, eq=False)
class Binning:
    """How a prompt's bin follows from its category and its difficulty.

    Attributes:
        kind: `difficulty` bins alone, the `column`'s categories alone, or their `product`.
        edges: Increasing bin edges of difficulty.
        delta: Hysteresis.
        code_N: Category of each prompt, None without a column, shape (N,).
        categories: Names of the categories, sorted.
    """

    kind: Bins
    edges: FloatArray
    delta: float
    code_N: IntArray | None
    categories: tuple[str, ...]

    @property
    def levels(self) -> int:
        """Difficulty bins of a category."""
        return 1 if self.kind == "column" else len(self.edges) + 1

    @property
    def num_categories(self) -> int:
        """G; 1 without a column."""
        return max(1, len(self.categories))

    @property
    def num_bins(self) -> int:
        """B."""
        return self.num_categories * self.levels

    @property
    def labels(self) -> list[str]:
        """Names of the bins; those of difficulty say the range of pass@k."""
        bounds = [0.0, *self.edges.tolist(), 1.0]
        ranges = [f"{low:g} to {high:g}" for low, high in pairwise(bounds)]
        if self.code_N is None:
            return ranges
        if self.kind == "column":
            return list(self.categories)
        return [f"{category}, {r}" for category in self.categories for r in ranges]

    def start(self, num_prompts: int) -> IntArray:
        """Bins before any visit: unseen, unless categories are all there is, shape (N,)."""
        if self.kind == "column" and self.code_N is not None:
            return self.code_N
        return np.full(num_prompts, UNSEEN, np.int64)

    def moved(self, prompt_P: IntArray, value_P: FloatArray, old_P: IntArray) -> IntArray:
        """Bins of visited prompts.

        Args:
            prompt_P: Prompts, shape (P,).
            value_P: Their estimates of pass@k, shape (P,).
            old_P: Their bins so far, shape (P,).

        Returns:
            Shape (P,).
        """
        if self.code_N is None:
            return rebin(value_P, old_P, self.edges, self.delta)
        if self.kind == "column":
            return old_P
        level_P = np.where(old_P == UNSEEN, UNSEEN, old_P % self.levels)
        return self.code_N[prompt_P] * self.levels + rebin(value_P, level_P, self.edges, self.delta)


def binning(
    kind: Bins, column: str, edges: tuple[float, ...], delta: float, problem: Problem
) -> Binning:
    """The binning of a pool.

    Args:
        kind: Which bins.
        column: Column of categories, empty without one.
        edges: Of difficulty.
        delta: Hysteresis.
        problem: The pool.

    Returns:
        The binning.

    Raises:
        ProblemError: The pool has no such column.
        StrategyError: There would be too many bins.
    """
    if kind == "difficulty":
        return Binning(kind, np.array(edges), delta, None, ())
    names, code_N = np.unique(problem.column(column, f"bins={kind!r}"), return_inverse=True)
    made = Binning(kind, np.array(edges), delta, code_N, tuple(str(name) for name in names))
    if made.num_bins > _MOST_BINS:
        raise StrategyError(
            f"column {column!r} has {len(names)} values, which makes {made.num_bins} bins; at most "
            f"{_MOST_BINS} are allowed, so group the values"
        )
    return made
