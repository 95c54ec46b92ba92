"""SPEED: screen prompts with a few rollouts, continue where they disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import IntArray
from gdro.numerics.sampling import draw_outside
from gdro.strategies.baselines.screening import Screening, went_on
from gdro.strategy import More, NoState, Role, Strategy, require
from gdro.types import Weights


@dataclass(frozen=True)
class Speed(Strategy[NoState]):
    """Continue only prompts whose screening pass rate lies strictly between `low` and `high`.

    With the defaults 0 and 1 every group whose rewards differ passes, which with partial credit may
    include one that is all wrong. Tighter bounds also need a pass rate between them.

    The plan's own rollouts are the screening (n_init, the trainer's group size). Prompts that pass
    get n_cont further rollouts, as many prompts as the loss has room for; while too few passed, fresh
    prompts are screened. The paper carries spare prompts over to the next step; here they are
    dropped, and counted as spent.

    Args:
        continuation: n_cont divided by n_init, above 0.
        low: Pass rate that the screening must exceed, 0 to `high`.
        high: Pass rate that the screening must stay below, at most 1.
        max_screens: Most batches to screen in a step, the first included.

    Raises:
        StrategyError: An option is out of range.

    References:
        Zhang et al., 2025, "SPEED-RL: Faster Training of Reasoning Models via Online Curriculum
        Learning", arXiv 2506.09016.

    >>> Speed(continuation=3.0).needs_even
    True
    """

    name: ClassVar[str] = "speed"
    changes: ClassVar[str] = "rollouts go on only for prompts that a screening finds undecided"
    source: ClassVar[str] = "arXiv 2506.09016"
    cost: ClassVar[str] = "further generations"

    continuation: float = 2.0
    low: float = 0.0
    high: float = 1.0
    max_screens: int = 2

    def __post_init__(self) -> None:
        checks = {
            "continuation": (0 < self.continuation < np.inf, self.continuation, "above 0, finite"),
            "low": (0 <= self.low < self.high, self.low, f"0 to below high={self.high}"),
            "high": (self.high <= 1, self.high, "at most 1"),
            "max_screens": (self.max_screens >= 1, self.max_screens, "1 or more"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("extend",)

    @property
    def needs_even(self) -> bool:
        return True

    def extend(
        self, state: NoState, belief: Belief, groups: Groups, round: int, rng: np.random.Generator
    ) -> More | None:
        """Screen fresh prompts while too few passed, then continue those that did."""
        plan = groups.plan
        if went_on(plan).any():
            return None
        passed_P, screening = self._passed(groups), Screening.of(plan, self.continuation)
        if len(passed_P) < screening.room and round + 1 < self.max_screens:
            fresh_P = draw_outside(belief.num_prompts, plan.prompt_P, plan.num_prompts, rng)
            if len(fresh_P):
                return screening.of_fresh(fresh_P)
        return screening.going_on(passed_P)

    def weigh(self, state: NoState, belief: Belief, groups: Groups, rng: np.random.Generator) -> Weights:
        """Keep the prompts that were continued."""
        plan = groups.plan
        if not plan.extended:
            return groups.expand(np.ones(len(groups.received_P)))
        return groups.keep_first(went_on(plan))

    def _passed(self, groups: Groups) -> IntArray:
        rate_P = groups.pass_rate_P
        above_P = (rate_P > self.low) | (self.low == 0)
        below_P = (rate_P < self.high) | (self.high == 1)
        return np.flatnonzero(groups.has_gradient_P & above_P & below_P)
