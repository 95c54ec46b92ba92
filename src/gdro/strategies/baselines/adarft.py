"""AdaRFT: a target difficulty that follows the mean reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import IntArray
from gdro.numerics.sampling import draw_nearest
from gdro.strategy import Role, Strategy, require
from gdro.types import Request


@dataclass(frozen=True)
class Target:
    """The difficulty that prompts are drawn near to."""

    target: float


@dataclass(frozen=True)
class AdaRFT(Strategy[Target]):
    """Adaptive curriculum: draw the prompts with the smallest |d_i - T|, ties at random.

    After a step with mean pass rate R: T <- clip(T + eta tanh(alpha (R - beta)), d_min, d_max).

    Args:
        column: Column of the prompts with a difficulty d from d_min to d_max; larger is harder.
        eta: Step size of the target T, in units of the difficulty.
        alpha: How sharply the target reacts to the pass rate.
        beta: Pass rate to aim at, 0 to 1.
        d_min: Smallest target.
        d_max: Largest target.
        start: Target of the first step.

    Raises:
        StrategyError: An option is out of range.

    References:
        Shi et al., 2025, "Efficient Reinforcement Finetuning via Adaptive Curriculum Learning",
        arXiv 2504.05520.

    >>> AdaRFT(start=20.0).init(num_prompts=4, num_bins=10)
    Target(target=20.0)
    """

    name: ClassVar[str] = "adarft"
    changes: ClassVar[str] = "which prompts are drawn: those nearest to a moving difficulty"
    source: ClassVar[str] = "arXiv 2504.05520"

    column: str = "difficulty"
    eta: float = 50.0
    alpha: float = 2.0
    beta: float = 0.5
    d_min: float = 0.0
    d_max: float = 100.0
    start: float = 0.0

    def __post_init__(self) -> None:
        checks = {
            "column": (bool(self.column), self.column, "the name of a column"),
            "eta": (0 < self.eta < np.inf, self.eta, "above 0, finite"),
            "alpha": (0 < self.alpha < np.inf, self.alpha, "above 0, finite"),
            "beta": (0 <= self.beta <= 1, self.beta, "0 to 1"),
            "d_max": (self.d_max > self.d_min, self.d_max, f"above d_min={self.d_min}"),
            "start": (self.d_min <= self.start <= self.d_max, self.start, "d_min to d_max"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("select",)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def init(self, num_prompts: int, num_bins: int) -> Target:
        return Target(float(self.start))

    def select(
        self, state: Target, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        order_N, difficulty_N = belief.sorted_column(self.column)
        return order_N[draw_nearest(difficulty_N, state.target, request.num_prompts, rng)]

    def update(self, state: Target, belief: Belief, groups: Groups) -> Target:
        """Raise the target after success, lower it after failure."""
        scored_P = groups.scored_P
        if not scored_P.any():
            return state
        rate = float((groups.successes_P[scored_P] / groups.trials_P[scored_P]).mean())
        step = self.eta * np.tanh(self.alpha * (rate - self.beta))
        return Target(float(np.clip(state.target + step, self.d_min, self.d_max)))

    def metrics(self, state: Target) -> dict[str, float]:
        return {"target_difficulty": state.target}
