"""HORA: rollouts where the next one most likely brings the first hit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.numerics.arrays import IntArray
from gdro.numerics.budget import check_feasible, greedy
from gdro.numerics.passk import utilities
from gdro.strategy import Allocator, Draft, NoState


@dataclass(frozen=True)
class Hora(Allocator[NoState]):
    """Maximise sum_i P(at least one hit in n_i rollouts) at an exact total.

    With s successes and f failures in earlier visits and a uniform prior, p ~ Beta(1 + s, 1 + f). The
    utility 1 - E[(1-p)^n] is concave in n, so greedy allocation is exact. Prompts that were never
    visited have the prior alone.

    Args:
        n_min: Fewest rollouts of a prompt, 2 or more.
        n_max: Most rollouts of a prompt.

    Raises:
        StrategyError: An option is out of range.

    References:
        Wang et al., 2026, "Where to Spend Rollouts: Hit-Utility Optimal Rollout Allocation for
        Group-Based RLVR", arXiv 2605.07114.

    >>> Hora(n_max=16).bounds
    Bounds(strategy='hora', n_min=2, n_max=16)
    """

    name: ClassVar[str] = "hora"
    changes: ClassVar[str] = "rollouts of each prompt, total constant"
    source: ClassVar[str] = "arXiv 2605.07114"

    n_max: int = 32

    @property
    def waits_for(self) -> Literal["visits"]:
        return "visits"

    def allocate(
        self, state: NoState, belief: Belief, draft: Draft, rng: np.random.Generator
    ) -> IntArray:
        num = len(draft.prompt_P)
        check_feasible(num, draft.num_rollouts, self.n_min, self.n_max)
        success_P, failure_P = belief.counts(draft.prompt_P)
        most = min(self.n_max, draft.num_rollouts - self.n_min * (num - 1))
        arm_A = np.arange(self.n_min, most + 1)
        hit_PA = utilities("hit", 1.0 + success_P, 1.0 + failure_P, arm_A)
        return greedy(hit_PA, draft.num_rollouts, self.n_min)
