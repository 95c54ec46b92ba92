"""Difficulty pools: easy, normal and hard prompts in fixed shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from gdro.checkpoint.codec import within
from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import IntArray
from gdro.numerics.persistent import PersistentArray
from gdro.numerics.sampling import draw_by_bin
from gdro.strategy import Role, Strategy, require
from gdro.types import Request

_HARD, _NORMAL, _EASY = 0, 1, 2


@dataclass(frozen=True)
class Pools:
    """The pool that each prompt is in (0 hard, 1 normal, 2 easy), shape (N,)."""

    pool_N: PersistentArray = field(metadata=within(_HARD, _EASY))


@dataclass(frozen=True)
class DifficultyPool(Strategy[Pools]):
    """Draw each prompt from the easy, hard or normal pool with fixed probabilities.

    After a visit a prompt with a pass rate above `easy_border` is easy, below `hard_border` hard,
    otherwise normal; prompts start as normal. An empty pool passes its draws to the others.

    Args:
        easy_border: Pass rate above which a prompt is easy, `hard_border` to 1.
        hard_border: Pass rate below which a prompt is hard, 0 or more.
        easy: Share of the draws from the easy pool, 0 to 1.
        hard: Share of the draws from the hard pool, 0 to 1.

    Raises:
        StrategyError: An option is out of range.

    References:
        prime-rl (software, github.com/PrimeIntellect-ai/prime-rl), its difficulty pools.

    >>> DifficultyPool().init(num_prompts=3, num_bins=10).pool_N[:].tolist()
    [1, 1, 1]
    """

    name: ClassVar[str] = "difficulty-pool"
    changes: ClassVar[str] = "which prompts are drawn: few that are solved or never solved"
    source: ClassVar[str] = "prime-rl, its difficulty pools"

    easy_border: float = 0.8
    hard_border: float = 0.2
    easy: float = 0.1
    hard: float = 0.1

    def __post_init__(self) -> None:
        room = 1.0 - self.hard
        checks = {
            "easy_border": (
                self.hard_border <= self.easy_border <= 1,
                self.easy_border,
                f"hard_border={self.hard_border} to 1",
            ),
            "hard_border": (self.hard_border >= 0, self.hard_border, "0 or more"),
            "hard": (0 <= self.hard <= 1, self.hard, "0 to 1"),
            "easy": (0 <= self.easy <= room, self.easy, f"0 to 1 - hard = {room:g}"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("select",)

    def init(self, num_prompts: int, num_bins: int) -> Pools:
        return Pools(PersistentArray(np.full(num_prompts, _NORMAL, np.int8), labels=3))

    def select(
        self, state: Pools, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        mass = np.array([self.hard, 1.0 - self.hard - self.easy, self.easy])
        return draw_by_bin(state.pool_N.index, mass, request.num_prompts, rng)

    def update(self, state: Pools, belief: Belief, groups: Groups) -> Pools:
        scored_P = groups.scored_P
        rate_P = groups.successes_P[scored_P] / groups.trials_P[scored_P]
        pool_P = np.where(rate_P > self.easy_border, _EASY, _NORMAL)
        pool_P = np.where(rate_P < self.hard_border, _HARD, pool_P)
        return Pools(state.pool_N.put(groups.plan.prompt_P[scored_P], pool_P))

    def metrics(self, state: Pools) -> dict[str, float]:
        share = state.pool_N.sizes / len(state.pool_N)
        return {"pool_hard": float(share[_HARD]), "pool_easy": float(share[_EASY])}
