"""GRESO: skip prompts that gave no gradient at their last visits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray, IntArray, one_more
from gdro.numerics.persistent import PersistentArray
from gdro.numerics.sampling import shuffled
from gdro.strategy import Role, Strategy, require
from gdro.types import Request


@dataclass(frozen=True)
class Runs:
    """Runs of zero-variance visits, and the exploration probabilities.

    Attributes:
        run_N: Latest visits in a row whose rewards agreed, shape (N,).
        easy_N: 1 where the latest visit was all right, shape (N,).
        explore_easy: Exploration probability of prompts that were all right.
        explore_hard: Exploration probability of the other prompts with zero variance.
    """

    run_N: PersistentArray
    easy_N: PersistentArray
    explore_easy: float
    explore_hard: float


@dataclass(frozen=True)
class Greso(Strategy[Runs]):
    """Selective rollouts: a prompt after z zero-variance visits is skipped with probability 1 - p^z.

    Zero variance means that the rewards agree. p is `explore_easy` if the latest visit was all right,
    else `explore_hard`. After a step each p changes by `step`: down when the share of its kind among
    the groups is at or above its target, else up.

    Args:
        explore: Initial value of both probabilities p.
        target_easy: Target share of zero-variance groups that are all right, 0 to 1.
        target_hard: Target share of the other zero-variance groups, 0 to 1.
        step: Change of each p in a step.
        least: Smallest p, above 0, so that every prompt is tried again.

    Raises:
        StrategyError: An option is out of range.

    References:
        Zheng et al., 2025, "Act Only When It Pays: Efficient Reinforcement Learning for LLM Reasoning
        via Selective Rollouts", arXiv 2506.02177.

    >>> strategy = Greso(explore=0.5)
    >>> strategy.chance(strategy.init(num_prompts=2, num_bins=10), np.arange(2)).tolist()
    [1.0, 1.0]
    """

    name: ClassVar[str] = "greso"
    changes: ClassVar[str] = "which prompts are drawn: fewer that gave no gradient lately"
    source: ClassVar[str] = "arXiv 2506.02177"

    explore: float = 0.5
    target_easy: float = 0.25 / 3
    target_hard: float = 0.5 / 3
    step: float = 0.01
    least: float = 0.05

    def __post_init__(self) -> None:
        checks = {
            "least": (0 < self.least <= 1, self.least, "above 0, at most 1"),
            "explore": (self.least <= self.explore <= 1, self.explore, f"least={self.least} to 1"),
            "target_easy": (0 <= self.target_easy <= 1, self.target_easy, "0 to 1"),
            "target_hard": (0 <= self.target_hard <= 1, self.target_hard, "0 to 1"),
            "step": (0 <= self.step <= 1, self.step, "0 to 1"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("select",)

    def init(self, num_prompts: int, num_bins: int) -> Runs:
        run_N = PersistentArray(np.zeros(num_prompts, np.int32))
        easy_N = PersistentArray(np.zeros(num_prompts, np.int8))
        return Runs(run_N, easy_N, float(self.explore), float(self.explore))

    def chance(self, state: Runs, prompt_P: IntArray) -> FloatArray:
        """Probability that prompts are not skipped, p^z, shape (P,)."""
        explore_P = np.where(state.easy_N[prompt_P] > 0, state.explore_easy, state.explore_hard)
        return np.power(explore_P, state.run_N[prompt_P].astype(np.float64))

    def select(
        self, state: Runs, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        """Walk the prompts in random order, skipping; skipped ones serve if too few are left."""
        wanted = request.num_prompts
        served, skipped = np.zeros((2, 0), np.int64)
        for walked in shuffled(belief.num_prompts, 2 * wanted, rng):
            passed = rng.random(len(walked)) < self.chance(state, walked)
            served = np.concatenate([served, walked[passed]])
            skipped = np.concatenate([skipped, walked[~passed]])
            if len(served) >= wanted:
                break
        return np.concatenate([served, skipped])[:wanted]

    def update(self, state: Runs, belief: Belief, groups: Groups) -> Runs:
        """Extend or end the runs, and adapt both probabilities."""
        rewarded_P = groups.rewarded_P
        if not rewarded_P.any():
            return state
        prompt_P = groups.plan.prompt_P[rewarded_P]
        flat_P = ~groups.has_gradient_P[rewarded_P]
        solved_P = groups.scored_P & (groups.successes_P == groups.trials_P)
        right_P = flat_P & solved_P[rewarded_P]
        wrong_P = flat_P & ~right_P
        run_N = state.run_N.put(prompt_P, np.where(flat_P, one_more(state.run_N[prompt_P]), 0))
        easy_N = state.easy_N.put(prompt_P, right_P)
        easy = self._adapted(state.explore_easy, float(right_P.mean()), self.target_easy)
        hard = self._adapted(state.explore_hard, float(wrong_P.mean()), self.target_hard)
        return Runs(run_N, easy_N, easy, hard)

    def metrics(self, state: Runs) -> dict[str, float]:
        return {"explore_easy": state.explore_easy, "explore_hard": state.explore_hard}

    def _adapted(self, explore: float, share: float, target: float) -> float:
        change = -self.step if share >= target else self.step
        return min(max(explore + change, self.least), 1.0)
