"""The shadow price of a rollout: demand at a price, and dual ascent on it."""

from __future__ import annotations

from gdro.types import FloatArray, IntArray


def demand(value_BA: FloatArray, share_B: FloatArray, arm_A: IntArray, price: float) -> float:
    """Mean rollouts wanted at a price: share-weighted argmax_n (value - price n), ties shared.

    Args:
        value_BA: Utility of each arm for each bin, shape (B, A).
        share_B: Share of the plan's prompts in each bin, shape (B,), sums to one.
        arm_A: Rollout counts, shape (A,).
        price: mu, utility per rollout.

    Returns:
        Demanded rollouts per prompt.
    """
    net_BA = value_BA - price * arm_A
    best_BA = net_BA == net_BA.max(axis=1, keepdims=True)
    return float(share_B @ ((best_BA * arm_A).sum(axis=1) / best_BA.sum(axis=1)))


def ascend(price: float, excess: float, step: float) -> float:
    """One step of dual ascent: max(0, price + step * excess) (eq. 21, driven by demand).

    Args:
        price: Current mu.
        excess: Demand minus the budget, in rollouts per prompt.
        step: Step size.

    Returns:
        The next price.
    """
    return max(0.0, price + step * excess)
