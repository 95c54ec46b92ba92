"""Learning progress: draw prompts whose pass rate changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro import Groups, Request, Strategy
from gdro.difficulty.belief import Belief
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.sampling import draw_weighted
from gdro.strategy import Role, require


@dataclass(frozen=True)
class Progress:
    """Running means of each prompt's pass rate, -1 before its first visit, shape (N,) each."""

    fast_N: FloatArray
    slow_N: FloatArray


@dataclass(frozen=True)
class LearningProgress(Strategy[Progress]):
    """Draw without replacement with Pr(u) = floor/N + (1 - floor) |fast_u - slow_u| / sum.

    Fast and slow are exponential means of the pass rate over a prompt's own visits. Their distance is
    large while the prompt is being learned, or forgotten, and small when it is solved or hopeless. The
    first paper scores tasks by the slope of their learning curve; here the task is a prompt, after the
    two-timescale form of the second. Unseen prompts count as much as the fastest.

    Args:
        fast: Weight of the newest visit in the fast mean, above 0, at most 1.
        slow: Weight of the newest visit in the slow mean, above 0, at most `fast`.
        floor: Share of the draws that stays uniform, above 0, at most 1.

    Raises:
        StrategyError: An option is out of range.

    References:
        Matiisen et al., 2017, "Teacher-Student Curriculum Learning", arXiv 1707.00183.
        Kanitscheider et al., 2021, "Multi-task curriculum learning in a complex, visual,
        hard-exploration domain: Minecraft", arXiv 2106.14876.

    >>> from gdro import Controller, Problem
    >>> controller = Controller(LearningProgress(), Problem(["a", "b", "c", "d"]), seed=0)
    >>> len(controller.plan(Request(num_prompts=2, num_rollouts=8)).prompt_P)
    2
    """

    name: ClassVar[str] = "learning-progress"
    changes: ClassVar[str] = "which prompts are drawn: those whose pass rate moves"
    source: ClassVar[str] = "arXiv 1707.00183"

    fast: float = 0.5
    slow: float = 0.1
    floor: float = 0.2

    def __post_init__(self) -> None:
        checks = {
            "fast": (0 < self.fast <= 1, self.fast, "above 0, at most 1"),
            "slow": (0 < self.slow <= self.fast, self.slow, f"above 0, at most fast={self.fast}"),
            "floor": (0 < self.floor <= 1, self.floor, "above 0, at most 1"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("select",)

    def init(self, num_prompts: int, num_bins: int) -> Progress:
        return Progress(np.full(num_prompts, -1.0), np.full(num_prompts, -1.0))

    def select(
        self, state: Progress, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        """Prompts that change more often, every prompt sometimes."""
        change_N = np.abs(state.fast_N - state.slow_N)
        unseen_N = state.fast_N < 0
        most = np.max(change_N, where=~unseen_N, initial=0.0)
        # Where nothing changes every prompt is as good as any other.
        weight_N = np.where(unseen_N, most, change_N) if most > 0 else np.ones(len(change_N))
        largest = float(weight_N.max())
        num, wanted = belief.num_prompts, request.num_prompts
        return draw_weighted(num, wanted, weight_N.__getitem__, largest, self.floor, rng)

    def update(self, state: Progress, belief: Belief, groups: Groups) -> Progress:
        """Move both means towards the visit's pass rate; the first visit sets them."""
        prompt_P = groups.plan.prompt_P[groups.scored_P]
        rate_P = groups.pass_rate_P[groups.scored_P]
        return Progress(
            _mean_after(state.fast_N, prompt_P, rate_P, self.fast),
            _mean_after(state.slow_N, prompt_P, rate_P, self.slow),
        )


def _mean_after(mean_N: FloatArray, prompt_P: IntArray, rate_P: FloatArray, share: float) -> FloatArray:
    old_P = mean_N[prompt_P]
    next_N = mean_N.copy()
    next_N[prompt_P] = np.where(old_P < 0, rate_P, old_P + share * (rate_P - old_P))
    return next_N
