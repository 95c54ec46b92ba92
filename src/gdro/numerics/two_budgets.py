"""Allocations that spend a number of rollouts exactly, at no more than a limit of another cost."""

from __future__ import annotations

import numpy as np

from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.budget import greedy

_CLOSE = 1e-3  # of the limit: nearer plans are not searched for
_HALVINGS = 24


def greedy_within(
    value_PA: FloatArray, total: int, n_min: int, cost_P: FloatArray, limit: float
) -> tuple[IntArray, float]:
    """Spend a total where the next rollout is worth most, less its cost at the least price that fits.

    maximise sum_i value_i(n_i) - price sum_i cost_i n_i  with  sum_i n_i = total

    The price is 0 if that plan costs at most `limit`; otherwise it is raised until it does. The plan is
    then the best of all that cost no more than it does (Everett, 1963): what it leaves of the limit is
    less than one exchange of rollouts between prompts, or a thousandth.

    Args:
        value_PA: Utilities of n_min, n_min+1, ... rollouts, concave, shape (P, A).
        total: Number of rollouts, between P n_min and P n_max.
        n_min: Fewest rollouts of a prompt.
        cost_P: Cost of a rollout of each prompt, e.g. its tokens, shape (P,).
        limit: Most that the plan may cost, at least as much as the cheapest plan does.

    Returns:
        Rollouts of each prompt, shape (P,), which sum to the total, and the price.

    References:
        Everett, 1963, "Generalized Lagrange Multiplier Method for Solving Problems of Optimum Allocation
        of Resources".

    >>> value_PA = np.array([[0.0, 4.0, 7.0], [0.0, 1.0, 2.0]])
    >>> greedy_within(value_PA, 6, 2, np.array([10.0, 1.0]), 100.0)[0].tolist()
    [4, 2]
    >>> greedy_within(value_PA, 6, 2, np.array([10.0, 1.0]), 33.0)[0].tolist()
    [3, 3]
    """
    step_A: FloatArray = np.arange(value_PA.shape[1], dtype=np.float64)

    def plan(price: float) -> tuple[IntArray, float]:
        priced_PA: FloatArray = value_PA - price * cost_P[:, None] * step_A
        rollouts_P = greedy(priced_PA, total, n_min)
        return rollouts_P, float(rollouts_P @ cost_P)

    best_P, cost = plan(0.0)
    if cost <= limit:
        return best_P, 0.0
    low, high = 0.0, _first_price(value_PA, cost_P)
    best_P, cost = plan(high)
    while cost > limit and high < np.inf:
        low, high = high, 4.0 * high
        best_P, cost = plan(high)
    for _ in range(_HALVINGS):
        if cost >= (1.0 - _CLOSE) * limit:
            break
        middle = 0.5 * (low + high)
        tried_P, needed = plan(middle)
        if needed > limit:
            low = middle
        else:
            high, best_P, cost = middle, tried_P, needed
    return best_P, high


def _first_price(value_PA: FloatArray, cost_P: FloatArray) -> float:
    """A price in the unit of the utilities: the largest gain over the spread of the costs."""
    gain = float(np.diff(value_PA, axis=1).max(initial=0.0))
    spread = float(np.ptp(cost_P))
    return gain / spread if gain > 0.0 and spread > 0.0 else 1.0
