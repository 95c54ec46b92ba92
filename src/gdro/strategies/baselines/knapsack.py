"""Knapsack RL: rollouts by the chance of a mixed group times the value of learning from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.budget import greedy
from gdro.strategy import Allocator, Draft, NoState


def value(rate_P: FloatArray, arm_A: IntArray) -> FloatArray:
    """(1 - p^n - (1-p)^n) p (1-p)^2: chance of a mixed group times the gain of a step, shape (P, A).

    >>> value(np.array([0.5]), np.array([2])).tolist()
    [[0.0625]]
    """
    miss_P = 1.0 - rate_P
    mixed_PA = 1.0 - rate_P[:, None] ** arm_A - miss_P[:, None] ** arm_A
    return mixed_PA * (rate_P * miss_P**2)[:, None]


@dataclass(frozen=True)
class Knapsack(Allocator[NoState]):
    """Maximise sum_i value(p_i, n_i) with sum_i n_i = total and n_min <= n_i <= n_max.

    The value is concave in n, so greedy allocation is exact. Prompts with p = 0 or p = 1 have no value
    and get n_min, unless budget is left when all others have n_max. The paper takes p from the
    prompt's last visit; here it is the posterior mean. Unseen prompts get the mean number of rollouts.

    Args:
        n_min: Fewest rollouts of a prompt, 2 or more.
        n_max: Most rollouts of a prompt.

    Raises:
        StrategyError: An option is out of range.

    References:
        Li et al., 2025, "Knapsack RL: Unlocking Exploration of LLMs via Optimizing Budget Allocation",
        arXiv 2509.25849.

    >>> Knapsack(n_max=64).bounds
    Bounds(strategy='knapsack', n_min=2, n_max=64)
    """

    name: ClassVar[str] = "knapsack"
    changes: ClassVar[str] = "rollouts of each prompt, total constant"
    source: ClassVar[str] = "arXiv 2509.25849"

    n_max: int = 128

    @property
    def waits_for(self) -> Literal["bin"]:
        return "bin"

    def allocate(
        self, state: NoState, belief: Belief, draft: Draft, rng: np.random.Generator
    ) -> IntArray:
        def spread(prompt_P: IntArray, bin_P: IntArray, total: int) -> IntArray:
            # No prompt can get more than what the others leave.
            most = min(self.n_max, total - self.n_min * (len(prompt_P) - 1))
            value_PA = value(belief.pass_rate(prompt_P), np.arange(self.n_min, most + 1))
            return greedy(value_PA, total, self.n_min)

        return self.over_seen(draft, spread)
