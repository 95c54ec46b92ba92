"""Memory of successes: replay them where a group failed, and anchor what was learned."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from numbers import Integral
from typing import ClassVar, Literal

import numpy as np

from gdro.checkpoint.codec import derived, within
from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import BoolArray, FloatArray, IntArray, among, distinct, one_more
from gdro.numerics.persistent import PersistentArray
from gdro.numerics.sampling import shuffled
from gdro.strategy import Role, Strategy, one_of, require
from gdro.types import Recall, Weights

AnchorPick = Literal["random", "least"]


@dataclass(frozen=True)
class Stored:
    """When successes were stored.

    Attributes:
        at_N: Number of the closed plan with each prompt's latest success (-1: none), shape (N,).
        misses_N: Visits without a success since then, shape (N,).
        usable_N: 1 where the success may be recalled, shape (N,); follows from the others.
        solved: Prompts with a success in each of the last `max_age` + 1 plans; follows from the others.
        steps: Plans closed so far.
        number: Prompts with a success; follows from `at_N`.
        total: Sum of `at_N` over them; follows from `at_N`.
    """

    at_N: PersistentArray = field(metadata=within(-1))
    misses_N: PersistentArray = field(metadata=within(0))
    usable_N: PersistentArray = field(metadata=derived())
    solved: tuple[IntArray, ...] = field(metadata=derived())
    steps: int = field(default=0, metadata=within(0))
    number: int = field(default=0, metadata=derived())
    total: int = field(default=0, metadata=derived())


@dataclass(frozen=True)
class Memory(Strategy[Stored]):
    """Remember the latest success of each prompt, and bring it back.

    Success replay: an all-wrong group gets its prompt's stored success as one more row, with
    advantages over n + 1 rows times `replay_weight`. Anchors: stored successes of prompts with a pass
    rate above `anchor_rate` join with a fixed advantage, so that easy prompts are not forgotten.
    Recalled rows replace rows without a gradient: the number of rows stays constant, and without such
    rows nothing is recalled. Beliefs learn from fresh rollouts only. A success to which a check of the
    work objects (`Outcome.sound_R`) is not remembered.

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
    anchors: int | float = 0.25
    anchor_pick: AnchorPick = "random"
    candidates: int | float = 0.5
    anchor_rate: float = 0.3
    anchor_advantage: float = 1.0
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

    @property
    def keeps_for(self) -> int:
        return self.max_age

    def init(self, num_prompts: int, num_bins: int) -> Stored:
        zeros_N, none_N = np.zeros(num_prompts, np.int32), np.zeros(num_prompts, np.int8)
        at_N = PersistentArray(np.full(num_prompts, -1))  # 64 bits, as any number of steps is loaded
        return Stored(at_N, PersistentArray(zeros_N), PersistentArray(none_N, labels=2), ())

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
        most = _count(self.anchors, groups)
        anchors = self._anchors(most, state, belief, groups, rng) if most else []
        recall = (*self._replays(state, groups), *anchors)
        pick = self.anchor_pick
        return Weights(weight_R, plain.keep_R, "kept", groups.lasting_R, recall, most, pick)

    def update(self, state: Stored, belief: Belief, groups: Groups) -> Stored:
        stored_P = np.bincount(groups.position_R[groups.lasting_R], minlength=len(groups.received_P))
        solved_P, failed_P = stored_P > 0, groups.scored_P & (groups.successes_P == 0)
        solved, failed = groups.plan.prompt_P[solved_P], groups.plan.prompt_P[failed_P]
        before = state.at_N[solved]
        at_N = state.at_N.put(solved, state.steps)
        visited = np.concatenate([solved, failed])
        again = one_more(state.misses_N[visited])
        misses = np.where(np.arange(len(visited)) < len(solved), 0, again)
        latest, expired = (*state.solved, np.sort(solved)), np.zeros(0, np.int64)
        if len(latest) > self.max_age:
            expired, latest = latest[0], latest[1:]
        after = replace(
            state,
            at_N=at_N,
            misses_N=state.misses_N.put(visited, misses),
            solved=latest if self.max_age else (),
            steps=state.steps + 1,
            number=state.number + int(np.count_nonzero(before < 0)),
            total=state.total + len(solved) * state.steps - int(before[before >= 0].sum()),
        )
        changed = distinct(np.concatenate([visited, expired]))
        return replace(after, usable_N=state.usable_N.put(changed, self._usable(after, changed)))

    def restored(self, state: Stored) -> Stored:
        at_N = state.at_N.array
        stored = at_N >= 0
        usable_N = self._usable(state, np.arange(len(at_N))).astype(np.int8)
        return replace(
            state,
            usable_N=state.usable_N.replaced(usable_N),
            solved=latest_plans(at_N, state.steps, self.max_age) if self.max_age else (),
            number=int(np.count_nonzero(stored)),
            total=int(at_N[stored].sum(dtype=np.int64)),
        )

    def metrics(self, state: Stored) -> dict[str, float]:
        """Share of the prompts with a stored success, and the mean age of these in plans."""
        return {
            "memory_share": state.number / len(state.at_N),
            "memory_age": state.steps - state.total / state.number if state.number else 0.0,
        }

    def _usable(self, state: Stored, prompt_P: IntArray) -> BoolArray:
        at_P = state.at_N[prompt_P]
        fresh_P = state.steps - at_P <= (self.max_age or np.inf)
        tried_P = state.misses_N[prompt_P] >= (self.max_misses or np.inf)
        return (at_P >= 0) & fresh_P & ~tried_P

    def _replays(self, state: Stored, groups: Groups) -> list[Recall]:
        if not self.replay:
            return []
        failed = groups.plan.prompt_P[groups.scored_P & (groups.successes_P == 0)]
        failed = failed[state.usable_N[failed] > 0]
        return [Recall(prompt, "replay", weight=self.replay_weight) for prompt in failed.tolist()]

    def _anchors(
        self, most: int, state: Stored, belief: Belief, groups: Groups, rng: np.random.Generator
    ) -> list[Recall]:
        """Usable successes in random order, without prompts that are hard or fail now."""
        wanted = max(most, _count(self.candidates, groups))
        failed = groups.plan.prompt_P[groups.successes_P == 0]
        chosen: list[int] = []
        for rank_K in shuffled(int(state.usable_N.sizes[1]), 2 * wanted, rng):
            drawn = state.usable_N.index.select(1, rank_K)
            known = drawn[belief.pass_rate(drawn) > self.anchor_rate]
            chosen += known[~among(known, failed)].tolist()
            if len(chosen) >= wanted:
                break
        # By `_make`, for calls with names take three times as long, and there are hundreds.
        return [Recall._make((p, "anchor", self.anchor_advantage, 1.0, 0)) for p in chosen[:wanted]]


def latest_plans(at_N: IntArray, steps: int, last: int) -> tuple[IntArray, ...]:
    """Prompts with each of the `last` plans before plan `steps` as their own, by plan, each increasing.

    >>> [plan.tolist() for plan in latest_plans(np.array([2, -1, 1, 2, 0]), steps=3, last=2)]
    [[2], [0, 3]]
    """
    first = max(steps - last, 0)
    order = np.flatnonzero(at_N >= first)
    order = order[np.argsort(at_N[order], kind="stable")]
    ends = np.searchsorted(at_N[order], np.arange(first, steps), side="right")
    return tuple(np.split(order, ends)[:-1])


AMOUNT = "a whole number of 0 or more, or a share below 1 of the step's rollouts"


def _amount(value: float) -> bool:
    return 0 <= value < 1 or (isinstance(value, Integral) and value >= 1)


def _count(value: float, groups: Groups) -> int:
    return int(value) if isinstance(value, Integral) else ceil(value * len(groups.plan.prompt_R))
