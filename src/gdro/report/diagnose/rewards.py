"""A reward log as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gdro.numerics.arrays import FloatArray, IntArray

MOST_TRIAL, MOST_TRIAL_GROUP = 1 << 20, 256
"""Rollouts that a trial simulates at most: in all, or for each group of the log if that is more."""


@dataclass(frozen=True, eq=False)
class RewardLog:
    """V rollout groups of K prompts.

    Attributes:
        keys: Ids of the prompts, K.
        prompt_V: Index into `keys`, shape (V,).
        n_V: Scored rollouts of each group, shape (V,).
        successes_V: Right ones, shape (V,).
        step_V: Number of each group's step, from zero; all zero where the log has none, shape (V,).
        gradient_V: 1 where the group's rewards differ; where the log has no rewards, where it has both
            right and wrong rollouts, shape (V,).
        notes: What a reader should know of how the log was read, each a sentence.
        program: Name of the program that wrote it, or "".
    """

    keys: list[str]
    prompt_V: IntArray
    n_V: IntArray
    successes_V: IntArray
    step_V: IntArray
    gradient_V: IntArray
    notes: tuple[str, ...] = ()
    program: str = ""

    @cached_property
    def trials_K(self) -> IntArray:
        """Rollouts of each prompt, shape (K,)."""
        return np.bincount(self.prompt_V, self.n_V, len(self.keys)).astype(np.int64)

    @cached_property
    def right_K(self) -> IntArray:
        """Right rollouts of each prompt, shape (K,)."""
        return np.bincount(self.prompt_V, self.successes_V, len(self.keys)).astype(np.int64)

    @property
    def rate_K(self) -> FloatArray:
        """Measured pass rate of each prompt, shape (K,)."""
        return self.right_K / self.trials_K

    @property
    def rollouts(self) -> int:
        """All rollouts."""
        return int(self.n_V.sum())

    @property
    def trial_rollouts(self) -> int:
        """Rollouts that a trial gives each strategy: all, but bounded by the number of groups.

        A row may state 16,384 rollouts in fifty bytes, and each would be simulated.
        """
        return min(self.rollouts, max(MOST_TRIAL, MOST_TRIAL_GROUP * len(self.n_V)))

    @property
    def trial_group(self) -> int:
        """Mean rollouts of a group in a trial: the log's, less if the trial has fewer rollouts."""
        return max(2, round(self.trial_rollouts / len(self.n_V)))

    @property
    def capped(self) -> str:
        """That a trial has fewer rollouts than the log, as a sentence; "" if it has as many."""
        if self.trial_rollouts == self.rollouts:
            return ""
        return (
            f"The trial gave each strategy {self.trial_rollouts:,} rollouts, not the {self.rollouts:,} "
            f"of your log, in groups of {self.trial_group:,} on average: it simulates at most "
            f"{MOST_TRIAL:,}, or {MOST_TRIAL_GROUP} for each of the log's groups if that is more."
        )
