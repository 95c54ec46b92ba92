"""Random rollouts: the placebo of every allocation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.numerics.arrays import IntArray
from gdro.numerics.budget import check_feasible
from gdro.strategy import Allocator, Draft, NoState


@dataclass(frozen=True)
class RandomRollouts(Allocator[NoState]):
    """A placebo: random rollout counts at an exact budget, which show what unequal groups do alone.

    Each prompt gets n_min; the rest of the budget goes one by one to random prompts below n_max.

    Args:
        n_min: Fewest rollouts of a prompt, 2 or more.
        n_max: Most rollouts of a prompt.

    Raises:
        StrategyError: An option is out of range.

    References:
        None: a control of our own (docs/concepts.md).

    >>> from gdro import Controller, Problem, Request
    >>> controller = Controller(RandomRollouts(n_max=8), Problem(["a", "b", "c"]), seed=0)
    >>> int(controller.plan(Request(num_prompts=3, num_rollouts=12)).rollouts_P.sum())
    12
    """

    name: ClassVar[str] = "random-rollouts"
    changes: ClassVar[str] = "rollouts of each prompt, at random (a placebo)"
    source: ClassVar[str] = "placebo"

    def allocate(
        self, state: NoState, belief: Belief, draft: Draft, rng: np.random.Generator
    ) -> IntArray:
        num = len(draft.prompt_P)
        check_feasible(num, draft.num_rollouts, self.n_min, self.n_max)
        # Every prompt has n_max - n_min places; the rest of the budget takes places at random.
        spare = self.n_max - self.n_min
        taken = rng.choice(num * spare, draft.num_rollouts - self.n_min * num, replace=False)
        return self.n_min + np.bincount(taken // max(1, spare), minlength=num)
