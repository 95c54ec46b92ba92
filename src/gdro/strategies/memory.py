"""Memory of successes: replay them where a group failed, and anchor what was learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.belief import Belief
from gdro.groups import Groups
from gdro.strategy import Strategy, require
from gdro.types import BoolArray, FloatArray, IntArray, Recall, Weights


@dataclass(frozen=True)
class Stored:
    """When each prompt's latest success was, in closed plans (-1: none), shape (N,); plans closed."""

    at_N: IntArray
    steps: int = 0


@dataclass(frozen=True)
class Memory(Strategy[Stored]):
    """Remember the latest success of each prompt, and bring it back.

    Success replay: a group that came out all wrong gets its prompt's stored success as one more row,
    with ordinary advantages over n + 1 rows. Anchors: of `candidates` random stored successes of
    prompts with pass rate above `anchor_rate`, the `anchors` least likely under the current policy
    join with a fixed advantage, so that easy prompts are not forgotten. Recalled rows take the place
    of rows without gradient: the number of rows stays constant, and where there is no such row nothing
    is recalled. Beliefs learn from fresh rollouts only.

    Args:
        replay: Whether to replay.
        anchors: Anchors a step; 0 for none.
        candidates: Stored successes among which the least likely are found, by one forward pass.
        anchor_rate: Pass rate above which a prompt's success may be an anchor.
        anchor_advantage: Advantage of an anchor.
        max_age: Plans after which a stored success is no longer used; 0: never too old.
        amplify: Right rollouts count 1 + amplify (1 - p)^2 times; 3 is what we tried, 0 is off.

    Raises:
        StrategyError: An option is out of range.
    """

    name: ClassVar[str] = "memory"
    changes: ClassVar[str] = "rows without gradient make room for remembered successes"
    source: ClassVar[str] = "gdro, docs/memory.md"
    cost: ClassVar[str] = "one forward pass over the candidates, if anchors are on"

    replay: bool = True
    anchors: int = 16
    candidates: int = 64
    anchor_rate: float = 0.3
    anchor_advantage: float = 0.5
    max_age: int = 200
    amplify: float = 0.0

    def __post_init__(self) -> None:
        checks = {
            "anchors": (self.anchors >= 0, self.anchors, "0 or more"),
            "candidates": (
                self.candidates >= self.anchors,
                self.candidates,
                f"anchors={self.anchors} or more",
            ),
            "anchor_rate": (0 <= self.anchor_rate <= 1, self.anchor_rate, "0 to 1"),
            "anchor_advantage": (
                0 < self.anchor_advantage < np.inf,
                self.anchor_advantage,
                "above 0, finite",
            ),
            "max_age": (self.max_age >= 0, self.max_age, "0 or more"),
            "amplify": (0 <= self.amplify < np.inf, self.amplify, "0 or more, finite"),
        }
        require(self.name, checks)

    @property
    def remembers(self) -> bool:
        """True."""
        return True

    def init(self, num_prompts: int, num_bins: int) -> Stored:
        """Nothing remembered."""
        return Stored(np.full(num_prompts, -1))

    def weigh(self, state: Stored, belief: Belief, groups: Groups) -> Weights:
        """What to remember and recall; ones but for `amplify`."""
        outcome = groups.outcome
        right_R = outcome.valid_mask_R & outcome.correct_R
        plain = groups.expand(np.ones(len(groups.received_P)))
        weight_R = plain.weight_R
        if self.amplify:
            miss_P = 1.0 - belief.pass_rate(groups.plan.prompt_P)
            bonus_P: FloatArray = 1.0 + self.amplify * miss_P**2
            weight_R = np.where(right_R, bonus_P[groups.position_R], weight_R)
        usable_N = self._usable(state)
        recall = (*self._replays(usable_N, groups), *self._anchors(usable_N, belief, groups))
        return Weights(
            weight_R, plain.keep_R, remember_R=right_R, recall=recall, most_anchors=self.anchors
        )

    def update(self, state: Stored, belief: Belief, groups: Groups) -> Stored:
        """Note the prompts that had a success."""
        at_N = state.at_N.copy()
        at_N[groups.plan.prompt_P[groups.successes_P > 0]] = state.steps
        return Stored(at_N, state.steps + 1)

    def metrics(self, state: Stored) -> dict[str, float]:
        """Share of the pool with a stored success, and the mean age of those, in plans."""
        stored_N = state.at_N >= 0
        ages = state.steps - state.at_N[stored_N]
        return {
            "memory_share": float(stored_N.mean()),
            "memory_age": float(ages.mean()) if len(ages) else 0.0,
        }

    def _usable(self, state: Stored) -> BoolArray:
        fresh_N = state.steps - state.at_N <= (self.max_age or np.inf)
        return (state.at_N >= 0) & fresh_N

    def _replays(self, usable_N: BoolArray, groups: Groups) -> list[Recall]:
        if not self.replay:
            return []
        failed_P = groups.scored_P & (groups.successes_P == 0) & usable_N[groups.plan.prompt_P]
        return [Recall(int(prompt), "replay") for prompt in groups.plan.prompt_P[failed_P]]

    def _anchors(self, usable_N: BoolArray, belief: Belief, groups: Groups) -> list[Recall]:
        stored = np.flatnonzero(usable_N) if self.anchors else np.zeros(0, np.int64)
        if not len(stored):
            return []
        known = stored[belief.pass_rate(stored) > self.anchor_rate]
        known = known[~np.isin(known, groups.plan.prompt_P[groups.successes_P == 0])]
        chosen = groups.rng().permutation(known)[: self.candidates]
        return [Recall(int(prompt), "anchor", self.anchor_advantage) for prompt in chosen]
