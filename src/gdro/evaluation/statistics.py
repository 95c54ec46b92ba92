"""Paired comparisons: effects with bootstrap intervals, sign-flip tests, Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from gdro.errors import StudyError
from gdro.numerics.arrays import FloatArray

_RESAMPLES = 10_000


@dataclass(frozen=True)
class Effect:
    """The mean of paired differences.

    Attributes:
        mean: Mean difference.
        low: Lower end of the 95% bootstrap interval over pairs.
        high: Upper end of that interval.
        p_value: Two-sided p-value of the sign-flip permutation test.
        wins: Number of pairs with a difference above zero.
        pairs: Number of pairs.
    """

    mean: float
    low: float
    high: float
    p_value: float
    wins: int
    pairs: int


def paired(difference_S: FloatArray, seed: int = 0) -> Effect:
    """Summarise paired differences, shape (S,); interval and test need two pairs that differ.

    Raises:
        StudyError: A difference is not finite.
    """
    if not bool(np.isfinite(difference_S).all()):
        raise StudyError(f"paired differences must be finite, got {difference_S.tolist()}")
    mean, num = float(difference_S.mean()), len(difference_S)
    wins = int((difference_S > 0).sum())
    if num < 2 or float(np.ptp(difference_S)) == 0.0:
        same = float(difference_S[0]) == 0.0
        return Effect(mean, mean, mean, 1.0 if same or num < 2 else 0.5 ** (num - 1), wins, num)
    rng = np.random.default_rng(seed)
    boot = stats.bootstrap(
        (difference_S,), np.mean, n_resamples=_RESAMPLES, method="percentile", rng=rng
    ).confidence_interval
    test = stats.permutation_test(
        (difference_S,), np.mean, permutation_type="samples", n_resamples=_RESAMPLES, rng=rng
    )
    return Effect(mean, float(boot.low), float(boot.high), float(test.pvalue), wins, num)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values by arm with Holm's step-down adjustment (Holm 1979) for the family-wise error.

    >>> {k: round(v, 3) for k, v in holm({"a": 0.01, "b": 0.04, "c": 0.03}).items()}
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, (arm, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[arm] = largest
    return adjusted


def at_budget(spent: Sequence[float], value: Sequence[float], budget: float) -> float:
    """A learning curve's value at a budget, by linear interpolation, constant beyond its ends."""
    return float(np.interp(budget, spent, value))
