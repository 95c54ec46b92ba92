"""Replay by advantage: single recent rollouts come back, those with large advantages more often."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import ClassVar

import numpy as np

from gdro.checkpoint.codec import derived, within
from gdro.difficulty.belief import Belief
from gdro.errors import CheckpointError
from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray, IntArray, among, distinct
from gdro.numerics.persistent import PersistentArray
from gdro.numerics.ragged import group_statistics
from gdro.strategy import Role, Strategy, require
from gdro.types import Recall, Weights

_EPS = 1e-4  # of the trainer's deviation
_FLOOR = 1e-6  # the paper's floor of a priority


@dataclass(frozen=True)
class RecentRows:
    """The buffer, a ring of M rows; those of one group lie side by side, by ascending reward.

    Attributes:
        start_N: Place of the first row of each prompt's group in the ring (-1: none), shape (N,).
        size_N: Number of its rows, shape (N,).
        advantage_M: Size of each row's advantage, 0 where there is no row, shape (M,).
        at_M: Number of the plan of each row, shape (M,).
        next: Place of the next row.
        steps: Plans closed so far.
        prompt_M: Prompt of each row (-1: no row), shape (M,); follows from the others.
    """

    start_N: PersistentArray = field(metadata=within(-1))
    size_N: PersistentArray = field(metadata=within(0))
    advantage_M: FloatArray = field(metadata=within(0))
    at_M: IntArray = field(metadata=within(-1))
    next: int = field(metadata=within(0))
    steps: int = field(metadata=within(0))
    prompt_M: IntArray = field(metadata=derived())


@dataclass(frozen=True)
class AdvantageReplay(Strategy[RecentRows]):
    """Draw rows of the last `max_age` plans with Pr proportional to (|A| + 1e-6)^alpha.

    A is the advantage that the row had in its own step. ratio R rows are drawn without replacement,
    where R is the number of the step's rollouts, and come back with that advantage; the probability
    ratio of the loss is taken, and clipped, against the policy that generated them. In the paper they
    come on top of the fresh rows; here they replace rows without a gradient, so that the loss has as
    many rows as without, and what finds no place is left out. Of each prompt only the latest group with
    a gradient is kept. Beliefs learn from fresh rollouts only.

    Args:
        ratio: Rows that come back, as a share of the step's rollouts, above 0, at most 1.
        alpha: Exponent of the priority, 0 (uniform) or more.
        max_age: Plans after which a row is no longer used (tau_max), 1 or more.
        warmup: Plans before the first row comes back.
        capacity: Most rows in the buffer, M; the oldest leave first.

    Raises:
        StrategyError: An option is out of range.

    References:
        Yoo et al., 2026, "Rollout-Level Advantage-Prioritized Experience Replay for GRPO", arXiv
        2606.04560; defaults as in a public reimplementation that names them the paper's.

    >>> AdvantageReplay(max_age=3).keeps_for
    3
    """

    name: ClassVar[str] = "advantage-replay"
    changes: ClassVar[str] = "rows without gradient make room for recent rows of large advantage"
    source: ClassVar[str] = "arXiv 2606.04560"
    cost: ClassVar[str] = (
        "a forward pass over the rows with a gradient, and one over those that come back"
    )

    ratio: float = 0.5
    alpha: float = 0.5
    max_age: int = 10
    warmup: int = 20
    capacity: int = 30_000

    def __post_init__(self) -> None:
        checks = {
            "ratio": (0 < self.ratio <= 1, self.ratio, "above 0, at most 1"),
            "alpha": (0 <= self.alpha <= 10, self.alpha, "0 to 10"),
            "max_age": (self.max_age >= 1, self.max_age, "1 or more"),
            "warmup": (self.warmup >= 0, self.warmup, "0 or more"),
            "capacity": (2 <= self.capacity <= 10_000_000, self.capacity, "2 to 10000000"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("remember",)

    @property
    def remembers_groups(self) -> bool:
        return True

    @property
    def keeps_for(self) -> int:
        return self.max_age

    def init(self, num_prompts: int, num_bins: int) -> RecentRows:
        none_N = PersistentArray(np.full(num_prompts, -1))
        size_N, none_M = PersistentArray(np.zeros(num_prompts, np.int64)), np.full(self.capacity, -1)
        return RecentRows(none_N, size_N, np.zeros(self.capacity), none_M, 0, 0, none_M)

    def weigh(
        self, state: RecentRows, belief: Belief, groups: Groups, rng: np.random.Generator
    ) -> Weights:
        """Remember the groups with a gradient; recall rows of earlier ones."""
        plain = groups.expand(np.ones(len(groups.received_P)))
        moving_R = groups.has_gradient_P[groups.position_R] & plain.keep_R
        most = ceil(self.ratio * len(groups.plan.prompt_R))
        drawn = self._drawn(state, most, rng) if state.steps >= self.warmup else np.zeros(0, np.int64)
        prompts = state.prompt_M[drawn]
        slots = (drawn - state.start_N[prompts]) % self.capacity
        rows = zip(prompts.tolist(), slots.tolist(), strict=True)
        return replace(
            plain,
            remember_R=moving_R,
            recall=tuple(Recall(prompt, "anchor", slot=slot) for prompt, slot in rows),
            most_anchors=most,
            remember="group",
            correction="clipped",
        )

    def update(self, state: RecentRows, belief: Belief, groups: Groups) -> RecentRows:
        """Append the groups with a gradient; rows that they overwrite leave with their groups."""
        row_R, size_P = self._rows(groups)
        moving_P = np.flatnonzero(size_P)
        prompts, sizes = groups.plan.prompt_P[moving_P], size_P[moving_P]
        place = (state.next + np.arange(len(row_R))) % self.capacity
        prompt_M, advantage_M = state.prompt_M.copy(), state.advantage_M.copy()
        changed = distinct(np.concatenate([prompt_M[place], prompts]))
        changed = changed[changed >= 0]
        empty = among(prompt_M, changed)
        prompt_M[empty], advantage_M[empty] = -1, 0.0
        prompt_M[place] = np.repeat(prompts, sizes)
        advantage_M[place] = row_R
        at_M = state.at_M.copy()
        at_M[place] = state.steps
        starts = (state.next + np.cumsum(sizes) - sizes) % self.capacity
        gone = changed[~among(changed, prompts)]
        changed = np.concatenate([prompts, gone])
        start_N = state.start_N.put(changed, np.concatenate([starts, np.full(len(gone), -1)]))
        size_N = state.size_N.put(changed, np.concatenate([sizes, np.zeros(len(gone), np.int64)]))
        following = (state.next + len(row_R)) % self.capacity
        return RecentRows(start_N, size_N, advantage_M, at_M, following, state.steps + 1, prompt_M)

    def restored(self, state: RecentRows) -> RecentRows:
        prompt_M = np.full(self.capacity, -1)
        prompts = np.flatnonzero((state.start_N.array >= 0) & (state.size_N.array > 0))
        sizes = np.minimum(state.size_N[prompts], self.capacity)
        if int(sizes.sum()) > self.capacity:
            raise CheckpointError(
                f"the checkpoint has {int(sizes.sum())} rows to replay in a ring of {self.capacity}; it "
                "is damaged, go back to an earlier one"
            )
        within_group = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        place = (np.repeat(state.start_N[prompts], sizes) + within_group) % self.capacity
        prompt_M[place] = np.repeat(prompts, sizes)
        return replace(state, next=state.next % self.capacity, prompt_M=prompt_M)

    def metrics(self, state: RecentRows) -> dict[str, float]:
        """Number of rows that may come back, and the mean size of their advantages."""
        usable = self._usable(state)
        advantage = state.advantage_M[usable]
        mean = float(advantage.mean()) if len(usable) else 0.0
        return {"replay_rows": float(len(usable)), "replay_advantage": mean}

    def _usable(self, state: RecentRows) -> IntArray:
        return np.flatnonzero((state.prompt_M >= 0) & (state.steps - state.at_M <= self.max_age))

    def _drawn(self, state: RecentRows, most: int, rng: np.random.Generator) -> IntArray:
        """Rows of the ring, drawn one after the other without replacement, in the order of the draws."""
        usable = self._usable(state)
        weight = (state.advantage_M[usable] + _FLOOR) ** self.alpha
        # The smallest of exponential times with these rates are such draws (Efraimidis and Spirakis).
        time = rng.exponential(size=len(usable)) / weight
        return usable[np.argsort(time, kind="stable")[:most]]

    def _rows(self, groups: Groups) -> tuple[FloatArray, IntArray]:
        """|A| of the rows to append, by group and ascending reward, (rows,); rows of each group, (P,).

        The last groups of a plan that has more rows than the ring.
        """
        outcome, num = groups.outcome, len(groups.plan.prompt_P)
        row = np.flatnonzero(groups.has_gradient_P[groups.position_R] & outcome.valid_mask_R)
        position, reward = groups.position_R[row], outcome.reward_R[row]
        order = np.lexsort((reward, position))
        position, reward = position[order], reward[order]
        size_P = np.bincount(position, minlength=num)
        fits_P = np.cumsum(size_P[::-1])[::-1] <= self.capacity
        statistics = group_statistics(reward, position, num)
        mean, deviation = statistics.mean_P[position], statistics.std_P[position]
        advantage = np.abs(reward - mean) / (deviation + _EPS)
        return advantage[fits_P[position]], np.where(fits_P, size_P, 0)
