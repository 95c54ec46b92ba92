"""Curriculum: easy to hard by a static difficulty column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import IntArray
from gdro.numerics.sampling import draw_lowest
from gdro.strategy import Role, Strategy, require
from gdro.types import Request


@dataclass(frozen=True)
class StepCount:
    """Plans closed so far."""

    steps: int = 0


@dataclass(frozen=True)
class Curriculum(Strategy[StepCount]):
    """Draw uniformly from the easiest share c(t) of the prompts, which grows to all of them.

    c(t) = min(1, (t (1 - start^power) / num_steps + start^power)^(1/power)), the competence of
    Platanios et al.; power 2 is their square root, 1 is linear.

    Args:
        column: Column of the prompts with a difficulty; larger is harder.
        num_steps: StepCount until every prompt may be drawn.
        start: Share of the prompts that may be drawn at the first step.
        power: Exponent of the growth, above 0.

    Raises:
        StrategyError: An option is out of range.

    References:
        Platanios et al., 2019, "Competence-based Curriculum Learning for Neural Machine Translation",
        arXiv 1903.09848.

    >>> Curriculum(num_steps=100, start=0.5, power=1.0).open_share(steps=50)
    0.75
    """

    name: ClassVar[str] = "curriculum"
    changes: ClassVar[str] = "which prompts are drawn: easy ones first"
    source: ClassVar[str] = "arXiv 1903.09848"

    column: str = "difficulty"
    num_steps: int = 1000
    start: float = 0.1
    power: float = 2.0

    def __post_init__(self) -> None:
        checks = {
            "column": (bool(self.column), self.column, "the name of a column"),
            "num_steps": (self.num_steps >= 1, self.num_steps, "1 or more"),
            "start": (0 < self.start <= 1, self.start, "above 0, at most 1"),
            "power": (0 < self.power < np.inf, self.power, "above 0, finite"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("select",)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def init(self, num_prompts: int, num_bins: int) -> StepCount:
        return StepCount()

    def open_share(self, steps: int) -> float:
        """c(t): share of the prompts, easiest first, that may be drawn."""
        base = self.start**self.power
        return min(1.0, (steps * (1.0 - base) / self.num_steps + base) ** (1.0 / self.power))

    def select(
        self, state: StepCount, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        """Uniformly from the easiest prompts; equal difficulties are ordered at random."""
        num = belief.num_prompts
        room = max(request.num_prompts, round(self.open_share(state.steps) * num))
        order_N, difficulty_N = belief.sorted_column(self.column)
        return order_N[draw_lowest(difficulty_N, room, request.num_prompts, rng)]

    def update(self, state: StepCount, belief: Belief, groups: Groups) -> StepCount:
        return StepCount(state.steps + 1)

    def metrics(self, state: StepCount) -> dict[str, float]:
        return {"curriculum_open": self.open_share(state.steps)}
