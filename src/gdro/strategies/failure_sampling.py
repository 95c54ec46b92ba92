"""Failure sampling: draw prompts in proportion to how often they fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.sampling import draw_weighted
from gdro.strategy import NoState, Role, Strategy, require
from gdro.types import Request


@dataclass(frozen=True)
class FailureSampling(Strategy[NoState]):
    """Draw without replacement with Pr(u) = floor/N + (1 - floor) w_u / sum w, w = 1 + offset - p.

    p is the posterior mean pass rate before the visit.

    Args:
        offset: Weight w of a prompt that is always solved, above 0: .05 favours hard prompts strongly,
            .3 mildly.
        floor: Share of the draws that stays uniform, 0 to 1.

    Raises:
        StrategyError: An option is out of range.

    References:
        None: a strategy of our own (docs/concepts.md).

    >>> from gdro import Controller, Problem
    >>> controller = Controller(FailureSampling(), Problem(["a", "b", "c"]), seed=0)
    >>> len(controller.plan(Request(num_prompts=2, num_rollouts=8)).prompt_P)
    2
    """

    name: ClassVar[str] = "failure-sampling"
    changes: ClassVar[str] = "which prompts are drawn: those that fail more often"
    source: ClassVar[str] = "gdro, docs/concepts.md"

    offset: float = 0.05
    floor: float = 0.1

    def __post_init__(self) -> None:
        checks = {
            "offset": (0 < self.offset < np.inf, self.offset, "above 0, finite"),
            "floor": (0 <= self.floor <= 1, self.floor, "0 to 1"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("select",)

    def select(
        self, state: NoState, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        most = 1.0 + self.offset

        def weight(prompt_P: IntArray) -> FloatArray:
            return most - belief.pass_rate(prompt_P)

        return draw_weighted(belief.num_prompts, request.num_prompts, weight, most, self.floor, rng)
