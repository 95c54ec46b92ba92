"""Weighted advantages of ragged groups with recalled rows, for learners that are not a trainer's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdro.numerics.ragged import group_statistics
from gdro.recall import Placed, weight_of
from gdro.types import BoolArray, FloatArray, IntArray, Outcome, Weights

_EPS = 1e-4  # as in TRL


@dataclass(frozen=True)
class Rows:
    """Rows of one update.

    Attributes:
        prompt_R: Dataset index of each, shape (R,).
        reward_R: Its reward, NaN where it has none, shape (R,).
        weight_R: Factor on the advantage, zero for dropped rows and those without a reward, shape (R,).
        counted_R: Whether the row counts in its group's mean and deviation, shape (R,).
    """

    prompt_R: IntArray
    reward_R: FloatArray
    weight_R: FloatArray
    counted_R: BoolArray

    @classmethod
    def of(cls, outcome: Outcome, weights: Weights) -> Rows:
        """The rows of an outcome; what stands in the place of a reward that is none counts nowhere."""
        valid_R = outcome.valid_mask_R
        keep_R = weights.keep_R & valid_R
        counted_R = valid_R if weights.baseline == "all" else keep_R
        reward_R = np.where(valid_R, outcome.reward_R, np.nan)
        return cls(outcome.prompt_R, reward_R, np.where(keep_R, weights.weight_R, 0.0), counted_R)

    def with_replays(self, prompt_M: IntArray) -> Rows:
        """With remembered successes of reward one in their groups; each has its group's weight."""
        weight_M = weight_of(prompt_M, self.prompt_R, self.weight_R, self.weight_R != 0)
        ones = np.ones(len(prompt_M))
        return Rows(
            np.concatenate([self.prompt_R, prompt_M]),
            np.concatenate([self.reward_R, ones]),
            np.concatenate([self.weight_R, weight_M]),
            np.concatenate([self.counted_R, ones > 0]),
        )

    def advantage_R(self) -> FloatArray:
        """Normalised inside each group, times the weights; zero without a reward, shape (R,)."""
        prompt_P, position_R = np.unique(self.prompt_R, return_inverse=True)
        counted_R = self.counted_R
        groups = group_statistics(self.reward_R[counted_R], position_R[counted_R], len(prompt_P))
        deviation_R = np.nan_to_num(groups.std_P)[position_R]
        mean_R = np.nan_to_num(groups.mean_P)[position_R]
        centred_R = np.where(np.isnan(self.reward_R), 0.0, self.reward_R - mean_R)
        return self.weight_R * centred_R / (deviation_R + _EPS)

    def advantage_with(self, placed: Placed) -> FloatArray:
        """Advantages with what was recalled behind the rows, shape (R + M,)."""
        num = len(placed.replays)
        fixed = np.array([r.advantage or 0.0 for r in placed.recalls[num:]])
        return np.concatenate([self.with_replays(placed.prompt_M[:num]).advantage_R(), fixed])
