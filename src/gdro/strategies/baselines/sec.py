"""SEC: a bandit over bins, paid by the size of their advantages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.ragged import group_statistics
from gdro.numerics.simplex import softmax
from gdro.strategy import Role, Strategy, require
from gdro.types import Request


@dataclass(frozen=True)
class Values:
    """Q of each bin, shape (B,)."""

    value_B: FloatArray


@dataclass(frozen=True)
class Sec(Strategy[Values]):
    """Self-evolving curriculum: draw bins with probability softmax(Q / tau).

    Q(b) <- alpha r(b) + (1 - alpha) Q(b), where r(b) is the mean |advantage| of the bin's rollouts.
    The categories of the paper are given; take bins from a column for that. Unseen prompts keep their
    share of the draws.

    Args:
        alpha: Weight of the newest reward r in Q, above 0, at most 1.
        tau: Temperature of the softmax, above 0.

    Raises:
        StrategyError: An option is out of range.

    References:
        Chen et al., 2025, "Self-Evolving Curriculum for LLM Reasoning", arXiv 2505.14970.

    >>> Sec().init(num_prompts=4, num_bins=3).value_B.tolist()
    [0.0, 0.0, 0.0]
    """

    name: ClassVar[str] = "sec"
    changes: ClassVar[str] = "which bins are drawn: those with the largest advantages"
    source: ClassVar[str] = "arXiv 2505.14970"

    alpha: float = 0.5
    tau: float = 1.0

    def __post_init__(self) -> None:
        checks = {
            "alpha": (0 < self.alpha <= 1, self.alpha, "above 0, at most 1"),
            "tau": (0 < self.tau < np.inf, self.tau, "above 0, finite"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("select",)

    def init(self, num_prompts: int, num_bins: int) -> Values:
        return Values(np.zeros(num_bins))

    def select(
        self, state: Values, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        share_C = belief.size_C / belief.num_prompts
        present_B = share_C[1:] > 0
        mass_B = np.zeros(len(present_B))
        if present_B.any():
            mass_B[present_B] = softmax(state.value_B[present_B] / self.tau)
        mass_C = np.concatenate([share_C[:1], (1.0 - share_C[0]) * mass_B])
        return belief.draw(mass_C, request.num_prompts, rng)

    def update(self, state: Values, belief: Belief, groups: Groups) -> Values:
        """Move Q of each bin that was drawn towards its reward."""
        bin_P = groups.plan.bin_P
        seen_P = groups.rewarded_P & (bin_P >= 0)
        if not seen_P.any():
            return state
        num_bins = len(state.value_B)
        size_P = absolute_advantage(groups)
        count_B = np.bincount(bin_P[seen_P], minlength=num_bins)
        reward_B = np.bincount(bin_P[seen_P], size_P[seen_P], num_bins) / np.maximum(count_B, 1)
        value_B = self.alpha * reward_B + (1.0 - self.alpha) * state.value_B
        return Values(np.where(count_B > 0, value_B, state.value_B))

    def by_bin(self, state: Values) -> dict[str, FloatArray]:
        return {"q_value": state.value_B}


def absolute_advantage(groups: Groups) -> FloatArray:
    """Mean |(reward - mean) / (deviation + 1e-4)| of each group, 0 without a deviation, shape (P,)."""
    outcome, num = groups.outcome, len(groups.plan.prompt_P)
    valid_R = outcome.valid_mask_R
    position_R, reward_R = groups.position_R[valid_R], outcome.reward_R[valid_R]
    of_group = group_statistics(reward_R, position_R, num)
    deviation_R = np.nan_to_num(of_group.std_P)[position_R]
    size_R = np.abs(reward_R - of_group.mean_P[position_R]) / (deviation_R + 1e-4)
    mean_P = group_statistics(np.where(deviation_R > 0, size_R, 0.0), position_R, num).mean_P
    return np.nan_to_num(mean_P)
