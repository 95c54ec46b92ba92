"""A dataset of any size over many ranks: each holds the beliefs of its share of the prompts.

Prompts are ordered by the hash of their key, and each rank holds a range of hashes. A step moves the
rows of its own prompts and a count for each bin; every rank then makes the same plan by the same code.
This script plays the ranks in one process, and compares each plan and digest with a controller of all.

Run it: `python examples/sharded_tracker.py`. What it means for 1e9 prompts: docs/speed.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gdro import Controller, Difficulty, Outcome, Plan, Problem, Request, make_strategy
from gdro.difficulty.tracker import DifficultyTracker
from gdro.groups import group
from gdro.numerics.hashing import hash_keys, hash_rows
from gdro.numerics.sampling import draw_by_bin
from gdro.strategy import Draft

P, MEAN, STEPS = 64, 4, 25


class Replicated:
    """The prior mean, which every rank follows by itself: all see every verdict of a step."""

    def __init__(self, prior: Any) -> None:
        self.mean, self.array = prior.mean, prior.array

    def observe(self, prompt_P: Any, rate_P: Any) -> None:
        """Nothing: the step's verdicts were observed once, for all prompts."""


class ShardedBelief:
    """What strategies read, from trackers that hold a range of the prompts each.

    Attributes:
        wire: Bytes of the rows and counts that ranks sent to all others.
    """

    def __init__(self, keys: list[str], ranks: int) -> None:
        self.start = np.linspace(0, len(keys), ranks + 1).astype(int)
        parts = [keys[a:b] for a, b in zip(self.start[:-1], self.start[1:], strict=True)]
        self.trackers = [DifficultyTracker(Difficulty(), Problem(part)) for part in parts]
        self.prior = self.trackers[0].prior
        for tracker in self.trackers:
            tracker.prior = Replicated(self.prior)
        self.num_prompts, self.num_bins = len(keys), self.trackers[0].binning.num_bins
        self.wire = 0

    @property
    def size_C(self) -> np.ndarray:
        """Counts by bin: the sum of those of all ranks."""
        return np.sum([tracker.size_C for tracker in self.trackers], axis=0)

    def gathered(self, prompt_P: np.ndarray, read: Any) -> np.ndarray:
        """Rows of prompts, each from the rank that holds it."""
        rank_P = np.searchsorted(self.start, prompt_P, side="right") - 1
        rows: Any = None
        for rank in np.unique(rank_P):
            own = rank_P == rank
            part = np.asarray(read(self.trackers[rank], prompt_P[own] - self.start[rank]))
            rows = np.empty((len(prompt_P), *part.shape[1:]), part.dtype) if rows is None else rows
            rows[own] = part
        self.wire += rows.nbytes
        return rows

    def posterior(self, prompt_P: np.ndarray) -> Any:
        """Beta posterior of prompts."""
        return tuple(self.gathered(prompt_P, lambda t, rows: np.stack(t.posterior(rows), 1)).T)

    def select(self, c: int, rank_K: np.ndarray) -> np.ndarray:
        """Prompts of the given ranks in a bin: the counts say which process holds each."""
        size = np.array([tracker.size_C[c] for tracker in self.trackers])
        end = np.cumsum(size)
        holder = np.searchsorted(end, rank_K, side="right")
        prompt_K = np.empty_like(rank_K)
        for rank in np.unique(holder):
            own = holder == rank
            local = self.trackers[rank].index.select(c, rank_K[own] - (end - size)[rank])
            prompt_K[own] = self.start[rank] + local
        self.wire += prompt_K.nbytes
        return prompt_K

    @property
    def size_L(self) -> np.ndarray:
        """`size_C`, under the name that draws by bin read."""
        self.wire += 8 * len(self.trackers) * (1 + self.num_bins)
        return self.size_C

    def draw(self, mass_C: np.ndarray, num: int, rng: Any) -> np.ndarray:
        """As `Belief.draw`."""
        return draw_by_bin(self, mass_C, num, rng)

    def record(self, prompt_P: np.ndarray, successes_P: np.ndarray, trials_P: np.ndarray) -> None:
        """Each rank updates the prompts that it holds."""
        self.prior.observe(prompt_P, successes_P / trials_P)
        for rank, tracker in enumerate(self.trackers):
            own = (prompt_P >= self.start[rank]) & (prompt_P < self.start[rank + 1])
            tracker.record(prompt_P[own] - self.start[rank], successes_P[own], trials_P[own])

    def hash(self, name: str) -> int:
        """Hash of an array of all prompts: the sum of the ranks' hashes, 8 bytes each."""
        parts = zip(self.start, self.trackers, strict=False)
        rows = ((tracker.arrays()[name], start) for start, tracker in parts)
        return sum(hash_rows(a, np.arange(len(a)) + start) for a, start in rows) % 2**64


def compare(name: str, options: dict[str, Any], ranks: int, num: int) -> float:
    """Bytes on the wire for a step; raises AssertionError if a plan or hash differs."""
    keys = [f"prompt-{i}" for i in range(num)]
    keys = [keys[i] for i in np.argsort(hash_keys(keys))]
    strategy = make_strategy(name, **options)
    whole, belief = Controller(strategy, Problem(keys), seed=1), ShardedBelief(keys, ranks)
    state: Any = strategy.init(num, belief.num_bins)
    rate_N = np.random.default_rng(0).beta(0.4, 0.4, num)
    for ticket in range(STEPS):
        expected = whole.plan(Request(P, P * MEAN))
        rng = np.random.default_rng([1, ticket])
        prompt_P = strategy.select(state, belief, Request(P, P * MEAN), rng)
        bin_P = belief.gathered(prompt_P, lambda t, rows: t.bin_N[rows])
        rollouts_P = strategy.allocate(state, belief, Draft(prompt_P, bin_P, P * MEAN), rng)
        assert np.array_equal(prompt_P, expected.prompt_P), f"prompts of step {ticket}"
        assert np.array_equal(rollouts_P, expected.rollouts_P), f"rollouts of step {ticket}"
        mass_B = strategy.mass(state, belief)
        importance_P = strategy.importance(state, belief, bin_P)
        plan = Plan(ticket, prompt_P, rollouts_P, bin_P.astype(np.int64), importance_P, mass_B=mass_B)
        right_R = np.random.default_rng([2, ticket]).random(P * MEAN) < rate_N[plan.prompt_R]
        outcome = Outcome(ticket, plan.prompt_R, right_R * 1.0, right_R)
        groups = group(plan, outcome)
        state = strategy.update(state, belief, groups)
        belief.record(prompt_P, groups.successes_P, groups.trials_P)
        whole.observe(outcome)
    hashes = whole._tracker.hashes()
    assert all(belief.hash(name) == value for name, value in hashes.items())
    return belief.wire / STEPS


def main() -> None:
    cases = (("rollout-gdro", {}), ("prompt-gdro", {"mode": "resample"}), ("sec", {}))
    for name, options in cases:
        for ranks in (1, 7, 64):
            wire = compare(name, options, ranks, num=5000)
            print(f"{name}, {ranks} ranks: {STEPS} equal plans, {wire:,.0f} bytes a step on the wire")


if __name__ == "__main__":
    main()
