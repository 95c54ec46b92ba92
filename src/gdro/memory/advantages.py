"""Weighted advantages of ragged groups with recalled rows, for the simulator and the studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gdro.memory.placing import Placed, join_weights
from gdro.numerics.arrays import BoolArray, FloatArray, IntArray
from gdro.numerics.ragged import group_statistics
from gdro.types import Outcome, Recall, Weights

_EPS = 1e-4  # as in TRL


@dataclass(frozen=True)
class WeightedRows:
    """Rollouts of one update, with their weights.

    Attributes:
        prompt_R: Dataset index of each row, shape (R,).
        reward_R: Reward of each row, NaN without one, shape (R,).
        weight_R: Factor on the advantage, zero for dropped rows and rows without reward, shape (R,).
        counted_R: Whether a row enters the mean and deviation of its group, shape (R,).
        scaled: Whether centred rewards are divided by the deviation of their group.
    """

    prompt_R: IntArray
    reward_R: FloatArray
    weight_R: FloatArray
    counted_R: BoolArray
    scaled: bool = True

    @classmethod
    def of(cls, outcome: Outcome, weights: Weights) -> WeightedRows:
        """The rows of an outcome; rows without a reward are NaN and excluded."""
        valid_R = outcome.valid_mask_R
        keep_R = weights.keep_R & valid_R
        counted_R = valid_R if weights.baseline == "all" else keep_R
        reward_R = np.where(valid_R, outcome.reward_R, np.nan)
        weight_R = np.where(keep_R, weights.weight_R, 0.0)
        return cls(outcome.prompt_R, reward_R, weight_R, counted_R, weights.scale == "trainer")

    def with_replays(self, replays: Sequence[Recall]) -> WeightedRows:
        """These rows and replays, which get reward one and the weight of their groups."""
        prompt_M, ones = np.array([r.prompt for r in replays], np.int64), np.ones(len(replays))
        return WeightedRows(
            np.concatenate([self.prompt_R, prompt_M]),
            np.concatenate([self.reward_R, ones]),
            join_weights(replays, self.prompt_R, self.weight_R, self.weight_R != 0),
            np.concatenate([self.counted_R, ones > 0]),
            self.scaled,
        )

    def advantage_R(self) -> FloatArray:
        """Rewards centred (and scaled) within each group, times the weights; zero without, (R,)."""
        prompt_P, position_R = np.unique(self.prompt_R, return_inverse=True)
        counted_R = self.counted_R
        groups = group_statistics(self.reward_R[counted_R], position_R[counted_R], len(prompt_P))
        deviation_R = np.nan_to_num(groups.std_P)[position_R]
        mean_R = np.nan_to_num(groups.mean_P)[position_R]
        centred_R = np.where(np.isnan(self.reward_R), 0.0, self.reward_R - mean_R)
        if not self.scaled:
            return self.weight_R * centred_R
        return self.weight_R * centred_R / (deviation_R + _EPS)

    def advantage_with(self, placed: Placed, stored: Sequence[float] = ()) -> FloatArray:
        """Advantages of the rows, then of the recalled rollouts, shape (R + M,).

        `stored` has the advantage of each recalled rollout in its own step, shape (M,), if any needs it.
        """
        own = stored or [0.0] * len(placed.recalls)
        pairs = list(zip(placed.recalls, own, strict=True))[len(placed.replays) :]
        fixed = np.array([was if r.advantage is None else r.advantage for r, was in pairs])
        return np.concatenate([self.with_replays(placed.replays).advantage_R(), fixed])
