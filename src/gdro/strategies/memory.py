"""Memory of successes: replay them where a group failed, and anchor what was learned."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from numbers import Integral
from typing import ClassVar, Literal

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import BoolArray, FloatArray, IntArray
from gdro.strategy import Role, Strategy, one_of, require
from gdro.types import Recall, Weights

AnchorPick = Literal["random", "least"]


@dataclass(frozen=True)
class Stored:
    """When successes were stored.

    Attributes:
        at_N: Number of the closed plan with each prompt's latest success (-1: none), shape (N,).
        misses_N: Visits without a success since then, shape (N,).
        steps: Plans closed so far.
    """

    at_N: IntArray
    misses_N: IntArray
    steps: int = 0


@dataclass(frozen=True)
class Memory(Strategy[Stored]):
    """Remember the latest success of each prompt, and bring it back.

    Success replay: an all-wrong group gets its prompt's stored success as one more row, with
    advantages over n + 1 rows times `replay_weight`. Anchors: stored successes of prompts with a pass
    rate above `anchor_rate` join with a fixed advantage, so that easy prompts are not forgotten.
    Recalled rows replace rows without a gradient: the number of rows stays constant, and without such
    rows nothing is recalled. Beliefs learn from fresh rollouts only.

    Where only the final answer is graded, some successes are lucky: the work behind them is wrong. The
    only success of a prompt that keeps failing, and the least likely success of any prompt, are mostly
    of that kind, so by default replays weigh a quarter and anchors are drawn at random. Where the
    whole work is graded, `replay_weight=1, anchor_pick="least"` learns faster (docs/results.md).

    Args:
        replay: Whether stored successes join failed groups.
        replay_weight: Factor on the advantages of a replay and of the failed group that it joins, above
            0, at most 1.
        anchors: Most anchors of a step: a whole number, or below 1 a share of the step's rollouts; 0
            for none.
        anchor_pick: Which stored successes become anchors: `random` ones, or of `candidates` random
            ones those `least` likely under the current policy, which takes a forward pass over them.
        candidates: Stored successes that are drawn for anchors: a number, or a share of the rollouts.
        anchor_rate: Pass rate above which a prompt's success may be an anchor, 0 to 1.
        anchor_advantage: Advantage of an anchor, above 0.
        max_age: Plans after which a stored success is no longer used; 0: no limit.
        max_misses: Failed visits in a row after which a prompt's success is no longer used, until there
            is a new one; 0: no limit. It bounds how often a mistake of the verifier is replayed.
        amplify: Right rollouts count 1 + amplify (1 - p)^2 times; we tried 3, and 0 is off.

    Raises:
        StrategyError: An option is out of range.

    References:
        None: a strategy of our own (docs/memory.md).

    >>> Memory(max_misses=2).roles
    ('remember',)
    """

    name: ClassVar[str] = "memory"
    changes: ClassVar[str] = "rows without gradient make room for remembered successes"
    source: ClassVar[str] = "gdro, docs/memory.md"
    cost: ClassVar[str] = "with anchor_pick=least one forward pass over the candidates"

    replay: bool = True
    replay_weight: float = 0.25
    anchors: int | float = 0.125
    anchor_pick: AnchorPick = "random"
    candidates: int | float = 0.5
    anchor_rate: float = 0.3
    anchor_advantage: float = 0.5
    max_age: int = 200
    max_misses: int = 4
    amplify: float = 0.0

    def __post_init__(self) -> None:
        advantage = self.anchor_advantage
        checks = {
            "replay_weight": (0 < self.replay_weight <= 1, self.replay_weight, "above 0, at most 1"),
            "anchor_pick": one_of(self.anchor_pick, AnchorPick),
            "anchors": (_amount(self.anchors), self.anchors, AMOUNT),
            "candidates": (_amount(self.candidates), self.candidates, AMOUNT),
            "anchor_rate": (0 <= self.anchor_rate <= 1, self.anchor_rate, "0 to 1"),
            "anchor_advantage": (0 < advantage < np.inf, advantage, "above 0, finite"),
            "max_age": (self.max_age >= 0, self.max_age, "0 or more"),
            "max_misses": (self.max_misses >= 0, self.max_misses, "0 or more"),
            "amplify": (0 <= self.amplify < np.inf, self.amplify, "0 or more, finite"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("remember",)

    def init(self, num_prompts: int, num_bins: int) -> Stored:
        return Stored(np.full(num_prompts, -1), np.zeros(num_prompts, np.int64))

    def weigh(self, state: Stored, belief: Belief, groups: Groups, rng: np.random.Generator) -> Weights:
        """What to remember and recall; weights are ones unless `amplify` is set."""
        outcome = groups.outcome
        right_R = outcome.judged_mask_R & outcome.correct_R
        plain = groups.expand(np.ones(len(groups.received_P)))
        weight_R = plain.weight_R
        if self.amplify:
            miss_P = 1.0 - belief.pass_rate(groups.plan.prompt_P)
            bonus_P: FloatArray = 1.0 + self.amplify * miss_P**2
            weight_R = np.where(right_R, bonus_P[groups.position_R], weight_R)
        usable_N = self._usable(state)
        most = _count(self.anchors, groups)
        anchors = self._anchors(most, usable_N, belief, groups, rng)
        recall = (*self._replays(usable_N, groups), *anchors)
        pick = self.anchor_pick
        return Weights(weight_R, plain.keep_R, "kept", groups.lasting_R, recall, most, pick)

    def update(self, state: Stored, belief: Belief, groups: Groups) -> Stored:
        at_N, misses_N = state.at_N.copy(), state.misses_N.copy()
        stored_P = np.bincount(groups.position_R[groups.lasting_R], minlength=len(groups.received_P))
        solved, failed = stored_P > 0, groups.scored_P & (groups.successes_P == 0)
        at_N[groups.plan.prompt_P[solved]] = state.steps
        misses_N[groups.plan.prompt_P[solved]] = 0
        misses_N[groups.plan.prompt_P[failed]] += 1
        return Stored(at_N, misses_N, state.steps + 1)

    def metrics(self, state: Stored) -> dict[str, float]:
        """Share of the prompts with a stored success, and the mean age of these in plans."""
        stored_N = state.at_N >= 0
        ages = state.steps - state.at_N[stored_N]
        return {
            "memory_share": float(stored_N.mean()),
            "memory_age": float(ages.mean()) if len(ages) else 0.0,
        }

    def _usable(self, state: Stored) -> BoolArray:
        fresh_N = state.steps - state.at_N <= (self.max_age or np.inf)
        tried_N = state.misses_N >= (self.max_misses or np.inf)
        return (state.at_N >= 0) & fresh_N & ~tried_N

    def _replays(self, usable_N: BoolArray, groups: Groups) -> list[Recall]:
        if not self.replay:
            return []
        failed_P = groups.scored_P & (groups.successes_P == 0) & usable_N[groups.plan.prompt_P]
        failed = groups.plan.prompt_P[failed_P]
        return [Recall(int(prompt), "replay", weight=self.replay_weight) for prompt in failed]

    def _anchors(
        self, most: int, usable_N: BoolArray, belief: Belief, groups: Groups, rng: np.random.Generator
    ) -> list[Recall]:
        stored = np.flatnonzero(usable_N) if most else np.zeros(0, np.int64)
        if not len(stored):
            return []
        known = stored[belief.pass_rate(stored) > self.anchor_rate]
        known = known[~np.isin(known, groups.plan.prompt_P[groups.successes_P == 0])]
        candidates = max(most, _count(self.candidates, groups))
        chosen = rng.permutation(known)[:candidates]
        return [Recall(int(prompt), "anchor", self.anchor_advantage) for prompt in chosen]


AMOUNT = "a whole number of 0 or more, or a share below 1 of the step's rollouts"


def _amount(value: float) -> bool:
    return 0 <= value < 1 or (isinstance(value, Integral) and value >= 1)


def _count(value: float, groups: Groups) -> int:
    return int(value) if isinstance(value, Integral) else ceil(value * len(groups.plan.prompt_R))
