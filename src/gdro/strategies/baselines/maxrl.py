"""MaxRL: centred rewards over the group's pass rate, towards maximum likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.strategy import NoState, Role, Strategy
from gdro.types import Weights


@dataclass(frozen=True)
class MaxRL(Strategy[NoState]):
    """Advantage (reward - mean) / p, where p is the share of right rollouts in the group.

    For rewards of 0 and 1, p is the mean reward, and the expected gradient is that of a sum over k of
    pass@k / k up to the group's size, which tends to that of log p. The trainer's own scaling is not
    used. Against GRPO a prompt counts sqrt((1 - p) / p) times. p counts verdicts, so that rewards may
    have any scale; a group that is all wrong, or has no verdict, keeps reward - mean, which is zero
    unless there is partial credit.

    References:
        Tajwar et al., 2026, "Maximum Likelihood Reinforcement Learning", arXiv 2602.02710.

    >>> MaxRL().unscaled
    True
    """

    name: ClassVar[str] = "maxrl"
    changes: ClassVar[str] = "the weight of each prompt: centred rewards over the pass rate"
    source: ClassVar[str] = "arXiv 2602.02710"

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("weigh",)

    @property
    def unscaled(self) -> bool:
        return True

    def weigh(self, state: NoState, belief: Belief, groups: Groups, rng: np.random.Generator) -> Weights:
        """1 / p; one where nothing is right."""
        right_P = groups.successes_P
        return groups.expand(np.where(right_P > 0, groups.trials_P / np.maximum(right_P, 1), 1.0))
