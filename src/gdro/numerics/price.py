"""The shadow price of a rollout: demand at a price, dual ascent on it, and its stationary value."""

from __future__ import annotations

import numpy as np

from gdro.numerics.arrays import FloatArray, IntArray

_HALVINGS = 200  # at most; bisection stops when the bracket is two neighbouring floats


def demand(value_BA: FloatArray, share_B: FloatArray, arm_A: IntArray, price: float) -> float:
    """Mean rollouts wanted at a price: share-weighted argmax_n (value - price n), ties shared.

    `value_BA` has the utility of each rollout count of `arm_A` for each bin; shares sum to one.
    """
    net_BA = value_BA - price * arm_A
    best_BA = net_BA == net_BA.max(axis=1, keepdims=True)
    return float(share_B @ ((best_BA * arm_A).sum(axis=1) / best_BA.sum(axis=1)))


def demand_curve(
    value_BA: FloatArray, share_B: FloatArray, arm_A: IntArray, price_M: FloatArray
) -> FloatArray:
    """Demand at each of many prices, shape (M,); it never rises with the price."""
    return np.array([demand(value_BA, share_B, arm_A, float(price)) for price in price_M])


def ascend(price: float, excess: float, step: float) -> float:
    """One step of dual ascent, max(0, price + step * excess) (eq. 21), for an excess demand."""
    return max(0.0, price + step * excess)


def stationary_price(value_BA: FloatArray, share_B: FloatArray, arm_A: IntArray, mean: float) -> float:
    """The price at which demand meets the budget, by bisection: the fixed point of dual ascent.

    Demand falls in steps, so it may jump over the budget, `mean` rollouts per prompt; the price is then
    that of the jump. It is 0 where the budget does not bind.
    """
    # Shares sum to one only to rounding.
    if demand(value_BA, share_B, arm_A, 0.0) <= mean * (1.0 + 1e-12):
        return 0.0
    # No bin wants a second arm above the steepest gain.
    low, high = 0.0, float((np.diff(value_BA, axis=1) / np.diff(arm_A)).max())
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if demand(value_BA, share_B, arm_A, middle) > mean:
            low = middle
        else:
            high = middle
    return high
