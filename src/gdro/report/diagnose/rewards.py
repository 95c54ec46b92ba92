"""A reward log as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gdro.numerics.arrays import FloatArray, IntArray


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
