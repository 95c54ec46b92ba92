"""Advantages of the group's pass@k: prompts solved by every subset of k rollouts stop counting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray
from gdro.numerics.passk import passk_unbiased
from gdro.strategy import NoState, Role, Strategy, require
from gdro.types import Weights


@dataclass(frozen=True)
class PasskAdvantages(Strategy[NoState]):
    """Reward subsets of k rollouts instead of single ones, in closed form.

    With n rollouts of which s are right, p = s / n, and R the unbiased pass@k, the paper's advantages
    of right and wrong rollouts are a = sqrt((1 - R) / R) and -a s / (n - s). Both are GRPO's advantage
    times a sqrt(p / (1 - p)), which is the prompt's weight here: 1 for k = 1, and in the paper 0 where
    fewer than k rollouts are wrong. s counts verdicts, which for rewards of 0 and 1 is the paper's
    count. With partial credit an all-right group may have a gradient: it is solved and weighs `least`;
    a group that is all wrong, or has no verdict, weighs one.

    Args:
        k: Size of a subset; a group of fewer rollouts is one subset.
        least: Smallest weight, above 0, so that no group that was generated is ignored.

    Raises:
        StrategyError: An option is out of range.

    References:
        Chen et al., 2025, "Pass@k Training for Adaptively Balancing Exploration and Exploitation of
        Large Reasoning Models", arXiv 2508.10751, its analytical derivation.

    >>> PasskAdvantages(k=4).roles
    ('weigh',)
    """

    name: ClassVar[str] = "passk-advantages"
    changes: ClassVar[str] = "the weight of each prompt, as if pass@k were rewarded"
    source: ClassVar[str] = "arXiv 2508.10751, its analytical derivation"

    k: int = 2
    least: float = 0.01

    def __post_init__(self) -> None:
        checks = {
            "k": (self.k >= 1, self.k, "1 or more"),
            "least": (0 < self.least <= 1, self.least, "above 0, at most 1"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("weigh",)

    def weigh(self, state: NoState, belief: Belief, groups: Groups, rng: np.random.Generator) -> Weights:
        """Ratio of the pass@k advantage to GRPO's; one where nothing is right or has a gradient."""
        weight_P: FloatArray = np.ones(len(groups.trials_P))
        mixed_P = groups.mixed_P
        solved_P = groups.scored_P & (groups.successes_P == groups.trials_P)
        subsets_P = np.minimum(self.k, groups.trials_P) > 1
        weight_P[solved_P & subsets_P & groups.has_gradient_P] = self.least
        trials, right = groups.trials_P[mixed_P], groups.successes_P[mixed_P]
        for k in np.unique(np.minimum(self.k, trials)).tolist():
            of_k = np.minimum(self.k, trials) == k
            reached = passk_unbiased(right[of_k], trials[of_k], k)
            odds = right[of_k] / (trials[of_k] - right[of_k])
            factor = np.sqrt((1.0 - reached) / reached * odds)
            weight_P[np.flatnonzero(mixed_P)[of_k]] = np.maximum(factor, self.least)
        return groups.expand(weight_P)
