"""What a simulated policy learns from: rows with their pull, those of a memory among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdro.numerics.ragged import group_statistics
from gdro.recall import Placed
from gdro.types import BoolArray, FloatArray, IntArray, Outcome, Weights


@dataclass(frozen=True)
class Rows:
    """Rows of one update.

    Attributes:
        prompt_R: Dataset index of each, shape (R,).
        reward_R: What the verifier gave, shape (R,).
        right_R: Whether it is truly right, shape (R,).
        weight_R: Factor on the advantage, zero for dropped rows, shape (R,).
        counted_R: Whether the row counts in its group's mean and deviation, shape (R,).
    """

    prompt_R: IntArray
    reward_R: FloatArray
    right_R: BoolArray
    weight_R: FloatArray
    counted_R: BoolArray

    @classmethod
    def of(cls, outcome: Outcome, weights: Weights, right_R: BoolArray) -> Rows:
        """The rows of an outcome."""
        keep_R = weights.keep_R
        counted_R = np.ones(len(keep_R), bool) if weights.baseline == "all" else keep_R
        weight_R = np.where(keep_R, weights.weight_R, 0.0)
        return cls(outcome.prompt_R, outcome.reward_R, right_R, weight_R, counted_R)

    def with_replays(self, prompt_M: IntArray, right_M: BoolArray) -> Rows:
        """With remembered successes in their groups; each has its group's weight."""
        row_of = dict(zip(self.prompt_R.tolist(), range(len(self.prompt_R)), strict=True))
        weight_M = self.weight_R[[row_of[prompt] for prompt in prompt_M.tolist()]]
        ones = np.ones(len(prompt_M))
        return Rows(
            np.concatenate([self.prompt_R, prompt_M]),
            np.concatenate([self.reward_R, ones]),
            np.concatenate([self.right_R, right_M]),
            np.concatenate([self.weight_R, weight_M]),
            np.concatenate([self.counted_R, ones > 0]),
        )

    def pull_R(self) -> FloatArray:
        """Weighted advantages, normalised inside each group, shape (R,)."""
        prompt_P, position_R = np.unique(self.prompt_R, return_inverse=True)
        counted_R = self.counted_R
        groups = group_statistics(self.reward_R[counted_R], position_R[counted_R], len(prompt_P))
        deviation_R = np.nan_to_num(groups.std_P)[position_R]
        mean_R = np.nan_to_num(groups.mean_P)[position_R]
        return self.weight_R * (self.reward_R - mean_R) / (deviation_R + 1e-4)


def with_recalled(rows: Rows, placed: Placed, right_M: BoolArray) -> tuple[Rows, FloatArray]:
    """Rows and their pulls with what was recalled behind them.

    Args:
        rows: Rows of an outcome.
        placed: What joins; the rows that it replaces have no pull.
        right_M: Whether each remembered rollout is truly right, shape (M,).

    Returns:
        The rows, and the pull of each.
    """
    prompt_M, num = placed.prompt_M, len(placed.replays)
    rows = rows.with_replays(prompt_M[:num], right_M[:num])
    fixed = np.array([r.advantage or 0.0 for r in placed.recalls[num:]])
    pull_R = np.concatenate([rows.pull_R(), fixed])
    joined = Rows(
        np.concatenate([rows.prompt_R, prompt_M[num:]]),
        np.concatenate([rows.reward_R, np.ones(len(fixed))]),
        np.concatenate([rows.right_R, right_M[num:]]),
        np.concatenate([rows.weight_R, np.ones(len(fixed))]),
        np.concatenate([rows.counted_R, np.ones(len(fixed), bool)]),
    )
    return joined, pull_R
