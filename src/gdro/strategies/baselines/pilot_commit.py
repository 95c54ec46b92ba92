"""Pilot-Commit: a few rollouts decide which prompts get many, which wait, and which leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from gdro.checkpoint.codec import within
from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import BoolArray, IntArray, among
from gdro.numerics.persistent import PersistentArray
from gdro.numerics.sampling import shuffled
from gdro.strategies.baselines.screening import Screening, went_on
from gdro.strategy import More, Role, Strategy, require
from gdro.types import Request, Weights

_WAITS, _DONE, _EVICTED = 0, 1, 2


@dataclass(frozen=True)
class Turns:
    """Whose turn it is.

    Attributes:
        status_N: 0 where a prompt waits for its pilot in this epoch, 1 where it had its turn, 2 where
            it was evicted, shape (N,).
        epochs: Times that every prompt had its turn.
    """

    status_N: PersistentArray
    epochs: int = field(default=0, metadata=within(0))


@dataclass(frozen=True)
class PilotCommit(Strategy[Turns]):
    """Commit further rollouts to prompts with a pilot pass rate from `low` to `high`.

    The plan's own rollouts are the pilot, n for each prompt; a committed prompt gets `commit` n more,
    and only its rows are kept, as many prompts as the loss has room for. While there are too few,
    further prompts have their pilot; if none passes, the plan's pilots are trained on. The others are
    deferred: they wait until every prompt had its turn (an epoch). Prompts that pass and have no room
    keep their turn. A prompt with a pass rate of at least `evict` is not drawn again, unless no others
    are left. The paper stores the pilots of prompts without room for up to four steps; here they are
    dropped, and counted as spent.

    Args:
        commit: Rollouts of a committed prompt beyond its pilot, as a multiple of n, above 0.
        low: Smallest pass rate of a pilot that is committed, 0 to `high`; below it is too hard.
        high: Largest such pass rate, at most 1; above it is too easy.
        evict: Pass rate from which a prompt is evicted, at least `high`; above 1: never.
        max_pilots: Most batches of pilots in a step, the first included.

    Raises:
        StrategyError: An option is out of range.

    References:
        Kim et al., 2026, "Spend Your Rollouts Where It Counts: Rollout Allocation for Group-Based RL
        Post-Training", arXiv 2605.26606; options as in the training scripts of its published code.

    >>> PilotCommit().roles
    ('select', 'extend')
    """

    name: ClassVar[str] = "pilot-commit"
    changes: ClassVar[str] = "pilots decide who gets many rollouts, who waits and who leaves"
    source: ClassVar[str] = "arXiv 2605.26606"
    cost: ClassVar[str] = "further generations"

    commit: float = 3.0
    low: float = 0.125
    high: float = 0.75
    evict: float = 1.0
    max_pilots: int = 10

    def __post_init__(self) -> None:
        checks = {
            "commit": (0 < self.commit < np.inf, self.commit, "above 0, finite"),
            "low": (0 <= self.low <= self.high, self.low, f"0 to high={self.high}"),
            "high": (self.high <= 1, self.high, "at most 1"),
            "evict": (self.high <= self.evict < np.inf, self.evict, f"high={self.high} or more, finite"),
            "max_pilots": (self.max_pilots >= 1, self.max_pilots, "1 or more"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("select", "extend")

    @property
    def needs_even(self) -> bool:
        return True

    def init(self, num_prompts: int, num_bins: int) -> Turns:
        return Turns(PersistentArray(np.zeros(num_prompts, np.int8), labels=3))

    def select(
        self, state: Turns, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        """Prompts that wait; then those of the next epoch, and evicted ones if nothing else is left."""
        none_P = np.zeros(0, np.int64)
        order = (_WAITS, _DONE, _EVICTED)
        return _drawn(state.status_N, order, request.num_prompts, none_P, rng)

    def extend(
        self, state: Turns, belief: Belief, groups: Groups, round: int, rng: np.random.Generator
    ) -> More | None:
        """Pilots of further prompts while too few passed, then the commitments."""
        plan = groups.plan
        if went_on(plan).any() or not groups.scored_P.any():  # without verdicts no pilot passes
            return None
        passed_P, pilot = np.flatnonzero(self._passes(groups)), Screening.of(plan, self.commit)
        if len(passed_P) < pilot.room and round + 1 < self.max_pilots:
            order = (_WAITS, _DONE)
            fresh_P = _drawn(state.status_N, order, plan.num_prompts, plan.prompt_P, rng)
            if len(fresh_P):
                return pilot.of_fresh(fresh_P)
        return pilot.going_on(passed_P)

    def weigh(self, state: Turns, belief: Belief, groups: Groups, rng: np.random.Generator) -> Weights:
        """Keep the committed prompts, or the plan's own pilots where there are none."""
        plan, committed_P = groups.plan, went_on(groups.plan)
        if not plan.extended:
            return groups.expand(np.ones(len(groups.received_P)))
        return groups.keep_first(committed_P | ~committed_P.any())

    def update(self, state: Turns, belief: Belief, groups: Groups) -> Turns:
        """Turns taken, prompts evicted, and a new epoch when nobody waits."""
        plan, seen_P = groups.plan, groups.rewarded_P
        spare_P = self._passes(groups) & ~went_on(plan)
        status_P = np.where(spare_P, _WAITS, _DONE)
        status_P[groups.pass_rate_P >= self.evict] = _EVICTED
        status_N = state.status_N.put(plan.prompt_P[seen_P], status_P[seen_P].astype(np.int8))
        if int(status_N.sizes[_WAITS]):
            return Turns(status_N, state.epochs)
        again_P = np.flatnonzero(status_N.array == _DONE)
        return Turns(status_N.put(again_P, np.int8(_WAITS)), state.epochs + 1)

    def metrics(self, state: Turns) -> dict[str, float]:
        """Share of the prompts that were evicted, and the number of epochs so far."""
        evicted = int(state.status_N.sizes[_EVICTED]) / len(state.status_N)
        return {"pilot_evicted": evicted, "pilot_epochs": float(state.epochs)}

    def _passes(self, groups: Groups) -> BoolArray:
        rate_P = groups.pass_rate_P
        return groups.has_gradient_P & (rate_P >= self.low) & (rate_P <= self.high)


def _drawn(
    status_N: PersistentArray,
    order: Sequence[int],
    count: int,
    taken_P: IntArray,
    rng: np.random.Generator,
) -> IntArray:
    """Up to `count` prompts outside of the taken ones, at random, by status in the given order."""
    drawn = np.zeros(0, np.int64)
    for status in order:
        for rank_K in shuffled(int(status_N.sizes[status]), 2 * count, rng):
            row_K = status_N.index.select(status, rank_K)
            drawn = np.concatenate([drawn, row_K[~among(row_K, taken_P)]])
            if len(drawn) >= count:
                return drawn[:count]
    return drawn
