"""Advantages as TRL's asynchronous loop takes them, for groups that it does not score as a whole."""

from __future__ import annotations

import numpy as np

from gdro.numerics.arrays import FloatArray
from gdro.numerics.ragged import group_statistics
from gdro.types import Outcome, Weights

_EPS = 1e-8  # as in TRL's `_AsyncRolloutLoop`


def advantages(outcome: Outcome, weights: Weights) -> FloatArray:
    """Advantages without weights of the rows of a plan, relative to their prompts', shape (R,).

    Rows without a reward have zero, as have those of prompts with one row. The deviation is that of the
    population (numpy's `std`), as TRL's loop takes it; it divides nothing if `weights.scale` is "none".
    """
    _, position_R = np.unique(outcome.prompt_R, return_inverse=True)
    counts_R = outcome.valid_mask_R
    if weights.baseline == "kept":
        counts_R = counts_R & weights.keep_R
    num = int(position_R.max(initial=-1)) + 1
    of_groups = group_statistics(outcome.reward_R, position_R, num, counts_R)
    value_R = outcome.reward_R - of_groups.mean_P[position_R]
    if weights.scale == "trainer":
        share_P = (of_groups.count_P - 1) / np.maximum(of_groups.count_P, 1)
        value_R = value_R / (of_groups.std_P * np.sqrt(np.maximum(share_P, 0.0)) + _EPS)[position_R]
    return np.where(outcome.valid_mask_R, np.nan_to_num(value_R), 0.0)
