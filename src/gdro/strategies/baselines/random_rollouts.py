"""Random rollouts: the placebo of every allocation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.numerics.arrays import IntArray
from gdro.numerics.budget import check_feasible
from gdro.strategy import Bounds, Draft, NoState, Role, Strategy, require_counts


@dataclass(frozen=True)
class RandomRollouts(Strategy[NoState]):
    """Rollouts at random at an exact budget: what unequal groups do by themselves.

    Each prompt gets n_min; the rest of the budget is dealt one by one to random prompts below n_max.

    Args:
        n_min: Fewest rollouts of a prompt.
        n_max: Most rollouts of a prompt.

    Raises:
        StrategyError: An option is out of range.
    """

    name: ClassVar[str] = "random-rollouts"
    changes: ClassVar[str] = "rollouts of each prompt, at random (a placebo)"
    source: ClassVar[str] = "placebo"

    n_min: int = 2
    n_max: int = 12

    def __post_init__(self) -> None:
        require_counts(self.name, self.n_min, self.n_max)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("allocate",)

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.name, self.n_min, self.n_max)

    def allocate(
        self, state: NoState, belief: Belief, draft: Draft, rng: np.random.Generator
    ) -> IntArray:
        """Random counts within the bounds that sum to the total."""
        num = len(draft.prompt_P)
        check_feasible(num, draft.num_rollouts, self.n_min, self.n_max)
        # Every prompt owns n_max - n_min places; the rest of the budget takes places at random.
        spare = self.n_max - self.n_min
        taken = rng.choice(num * spare, draft.num_rollouts - self.n_min * num, replace=False)
        return self.n_min + np.bincount(taken // max(1, spare), minlength=num)
