"""Bins by difficulty, by a column of the dataset, or by both."""

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
    """Bins of estimates, shape (P,): an estimate must pass an edge by delta before its bin changes.

    `old` holds the bins so far (-1: none yet), shape (P,); `edges` increase, shape (B-1,). Several bins
    may be crossed at once.
    """
    risen = (edges + delta).searchsorted(value, side="right")
    fallen = (edges - delta).searchsorted(value, side="left")
    followed = np.minimum(np.maximum(old, risen), np.maximum(fallen, risen))
    if not (old == UNSEEN).any():
        return followed
    return np.where(old == UNSEEN, np.searchsorted(edges, value, side="right"), followed)


@dataclass(frozen=True, eq=False)
class Binning:
    """How a prompt's bin follows from its category and its difficulty.

    Attributes:
        kind: Bins of `difficulty` alone, the categories of a `column` alone, or their `product`.
        edges: Increasing edges of the difficulty bins, in pass@k.
        delta: Hysteresis, in pass@k.
        code_N: Index of each prompt's category, None without a column, shape (N,).
        categories: Names of the categories, sorted.
    """

    kind: Bins
    edges: FloatArray
    delta: float
    code_N: IntArray | None
    categories: tuple[str, ...]

    @property
    def levels(self) -> int:
        """Number of difficulty bins in each category."""
        return 1 if self.kind == "column" else len(self.edges) + 1

    @property
    def num_categories(self) -> int:
        """Number of categories, G; 1 without a column."""
        return max(1, len(self.categories))

    @property
    def num_bins(self) -> int:
        """Number of bins, B."""
        return self.num_categories * self.levels

    @property
    def labels(self) -> list[str]:
        """Names of the bins; a difficulty bin is named by its range of pass@k."""
        bounds = [0.0, *self.edges.tolist(), 1.0]
        ranges = [f"{low:g} to {high:g}" for low, high in pairwise(bounds)]
        if self.code_N is None:
            return ranges
        if self.kind == "column":
            return list(self.categories)
        return [f"{category}, {r}" for category in self.categories for r in ranges]

    def start(self, num_prompts: int) -> IntArray:
        """Bins before any visit, shape (N,): unseen, unless the category alone is the bin."""
        if self.kind == "column" and self.code_N is not None:
            return self.code_N
        return np.full(num_prompts, UNSEEN, np.int64)

    def bins(self, prompt_P: IntArray, value_P: FloatArray, old_P: IntArray) -> IntArray:
        """New bins of prompts from their estimated pass@k and their old bins, each shape (P,)."""
        if self.code_N is None:
            return rebin(value_P, old_P, self.edges, self.delta)
        if self.kind == "column":
            return old_P
        level_P = np.where(old_P == UNSEEN, UNSEEN, old_P % self.levels)
        return self.code_N[prompt_P] * self.levels + rebin(value_P, level_P, self.edges, self.delta)


def binning(
    kind: Bins, column: str, edges: tuple[float, ...], delta: float, problem: Problem
) -> Binning:
    """The binning of a dataset.

    Raises:
        ProblemError: The dataset has no such column.
        StrategyError: There would be more than 512 bins.
    """
    if kind == "difficulty":
        return Binning(kind, np.array(edges), delta, None, ())
    names, code_N = np.unique(problem.column(column, f"bins={kind!r}"), return_inverse=True)
    result = Binning(kind, np.array(edges), delta, code_N, tuple(str(name) for name in names))
    if result.num_bins > _MOST_BINS:
        raise StrategyError(
            f"column {column!r} has {len(names)} values, which gives {result.num_bins} bins; at most "
            f"{_MOST_BINS} are allowed: merge some of the values"
        )
    return result
