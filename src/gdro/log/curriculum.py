"""Summaries of how the prompts, rollouts and weights of each step are distributed over the bins."""

from __future__ import annotations

import numpy as np

from gdro.numerics.arrays import FloatArray

# Of ten bins these are the paper's "bins >= 3" and "bins >= 8".
UPPER, TOP = 0.3, 0.8


def curriculum(
    prompts_SB: FloatArray, rollouts_SB: FloatArray, weight_SB: FloatArray
) -> dict[str, FloatArray]:
    """Summaries over the bins of each step; unseen prompts are left out.

    A bin's *share* is its share of the prompts, its *pull* its share of prompts x rollouts x weight,
    i.e. of the gradient before advantages.

    Args:
        prompts_SB: Number of prompts per step and bin, shape (S, B).
        rollouts_SB: Mean rollouts per prompt, NaN where a bin is absent, shape (S, B).
        weight_SB: Mean weight, NaN where a bin is absent, shape (S, B).

    Returns:
        Each shape (S,), NaN where no prompt has a bin: `bin_mean` and `pull_bin_mean`, mean bin index
        of share and pull; `lead`, the second minus the first (negative: the gradient is on harder bins
        than the prompts); `share_upper` and `share_top`, share of the prompts in the upper 70% and 20%
        of the bins; `share_entropy` and `pull_entropy` in nats; `effective_bins`, exp of the latter.

    >>> import numpy as np
    >>> metrics = curriculum(np.array([[2.0, 2.0]]), np.array([[6.0, 2.0]]), np.ones((1, 2)))
    >>> metrics["bin_mean"].tolist(), metrics["pull_bin_mean"].tolist(), metrics["lead"].tolist()
    ([0.5], [0.25], [-0.25])
    """
    num_bins = prompts_SB.shape[1]
    share_SB = _normalised(prompts_SB)
    pull_SB = _normalised(np.nan_to_num(prompts_SB * rollouts_SB * weight_SB))
    place_B = np.arange(num_bins, dtype=np.float64)
    mean_S, pull_mean_S, pull_entropy_S = share_SB @ place_B, pull_SB @ place_B, _entropy(pull_SB)
    return {
        "bin_mean": mean_S,
        "pull_bin_mean": pull_mean_S,
        "lead": pull_mean_S - mean_S,
        "share_upper": share_SB[:, round(UPPER * num_bins) :].sum(axis=1),
        "share_top": share_SB[:, round(TOP * num_bins) :].sum(axis=1),
        "share_entropy": _entropy(share_SB),
        "pull_entropy": pull_entropy_S,
        "effective_bins": np.exp(pull_entropy_S),
    }


def _normalised(mass_SB: FloatArray) -> FloatArray:
    total_S1 = mass_SB.sum(axis=1, keepdims=True)
    return mass_SB / np.where(total_S1 > 0, total_S1, np.nan)


def _entropy(share_SB: FloatArray) -> FloatArray:
    return -(share_SB * np.log(np.where(share_SB > 0, share_SB, 1.0))).sum(axis=1)
