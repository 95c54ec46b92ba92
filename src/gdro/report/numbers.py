"""Numbers behind figures and verdicts: pure functions of a run's log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdro.numerics.arrays import FloatArray, IntArray
from gdro.report.load import LoggedRun
from gdro.report.visits import Visits


def standard_error_ratio(run: LoggedRun) -> FloatArray:
    """Weighted standard error (eq. 33) over that of uniform rollouts at the same total, shape (S,).

    WSE = sum_b q_b sigma_b / sqrt(n_b), with q the share of the step's prompts, sigma the deviation
    of a rollout within its group, pooled over the bin, and n the bin's mean rollouts. Unseen prompts
    are a bin of their own. NaN where no group of a step is mixed.
    """
    visits = run.visits
    assert visits is not None
    # A group of one has no sample deviation.
    known_V = visits.n_V > 1
    n_V = visits.n_V[known_V].astype(np.float64)
    rate_V = visits.successes_V[known_V] / n_V
    variance_V = rate_V * (1.0 - rate_V) * n_V / (n_V - 1.0)
    columns = run.num_bins + 1
    cell_V = visits.step_V[known_V] * columns + visits.bin_V[known_V] + 1
    size = run.num_steps * columns
    count_SC = np.bincount(cell_V, minlength=size).reshape(run.num_steps, columns)
    total_SC = np.bincount(cell_V, variance_V, size).reshape(run.num_steps, columns)
    deviation_SC = np.sqrt(total_SC / np.maximum(count_SC, 1))
    prompts_SC, rollouts_SC = run.bins["prompts"], np.nan_to_num(run.bins["rollouts"], nan=1.0)
    mean_S = (prompts_SC * rollouts_SC).sum(axis=1) / np.maximum(prompts_SC.sum(axis=1), 1)
    own_S = (prompts_SC * deviation_SC / np.sqrt(np.maximum(rollouts_SC, 1e-9))).sum(axis=1)
    uniform_S = (prompts_SC * deviation_SC).sum(axis=1) / np.sqrt(np.maximum(mean_S, 1e-9))
    return np.where(uniform_S > 0, own_S / np.where(uniform_S > 0, uniform_S, 1.0), np.nan)


def gini(spent_K: FloatArray | IntArray, num_prompts: int | None = None) -> float:
    """Gini coefficient of the rollouts of K prompts: 0 equal, near 1 all for one.

    The other prompts of a dataset of `num_prompts` (default: K) got none, and take no memory.

    >>> gini(np.array([5, 5, 5])), gini(np.array([0, 0, 0, 8])), gini(np.array([8]), 4)
    (0.0, 0.75, 0.75)
    """
    ordered = np.sort(np.asarray(spent_K, np.float64))
    total, num = ordered.sum(), max(len(ordered), num_prompts or 0)
    if total <= 0:
        return 0.0
    place_K = np.arange(num - len(ordered) + 1, num + 1, dtype=np.float64)
    return float((2 * place_K - num - 1) @ ordered / (num * total))


def lorenz(
    spent_K: FloatArray | IntArray, num_prompts: int | None = None, points: int = 60
) -> tuple[FloatArray, FloatArray]:
    """Lorenz curve of at most so many points: share of the least served prompts, and of the total."""
    ordered = np.sort(np.asarray(spent_K, np.float64))
    total = np.concatenate([[0.0], np.cumsum(ordered)]) / max(float(ordered.sum()), 1e-300)
    num = max(len(ordered), num_prompts or 0)
    at = np.unique(np.linspace(0, num, points).round().astype(np.int64))
    # Above 2**53 the last place is rounded up.
    return at / num, total[np.clip(at - (num - len(ordered)), 0, len(ordered))]


@dataclass(frozen=True)
class Solved:
    """Number of prompts in the dataset by what they had reached after each step, each (S,)."""

    never_tried_S: IntArray
    never_solved_S: IntArray
    solved_S: IntArray


def solved(run: LoggedRun) -> Solved:
    """How many prompts were tried and solved so far, by step."""
    visits = run.visits
    assert visits is not None
    tried_S = _so_far(visits.first_step_K(slice(None)), run.num_steps)
    solved_S = _so_far(visits.first_step_K(visits.successes_V > 0), run.num_steps)
    pool = max(int(run.header.get("num_prompts", 0)), len(visits.keys))
    return Solved(pool - tried_S, tried_S - solved_S, solved_S)


def _so_far(first_K: IntArray, num_steps: int) -> IntArray:
    within = first_K[first_K < num_steps]
    return np.cumsum(np.bincount(within, minlength=num_steps))


@dataclass(frozen=True)
class Calibration:
    """Predicted against observed pass rates: means of tenths that have visits, and rank correlation."""

    predicted: FloatArray
    observed: FloatArray
    visits: IntArray
    spearman: float


def calibration(visits: Visits, first: bool = False) -> Calibration | None:
    """How well the belief before a visit predicted it; None if the log does not have it.

    First visits before which nothing was known are left out. With `first` the others are, which leaves
    prompts whose pass rates were predicted from their columns, or known.
    """
    used_V = visits.bin_V >= 0
    if first:
        order_V = np.lexsort((visits.step_V, visits.prompt_V))
        prompt_V = visits.prompt_V[order_V]
        first_V = np.zeros(len(used_V), bool)
        first_V[order_V[np.r_[True, prompt_V[1:] != prompt_V[:-1]]]] = True
        used_V = used_V & first_V
    if used_V.sum() < 2:
        return None
    predicted_V = visits.predicted_V[used_V]
    observed_V = visits.successes_V[used_V] / visits.n_V[used_V]
    tenth_V = np.minimum((predicted_V * 10).astype(int), 9)
    count = np.bincount(tenth_V, minlength=10)
    some = count > 0
    predicted, observed = (
        np.bincount(tenth_V, value_V, 10)[some] / count[some] for value_V in (predicted_V, observed_V)
    )
    return Calibration(predicted, observed, count[some], spearman(predicted_V, observed_V))


def spearman(left_V: FloatArray, right_V: FloatArray) -> float:
    """Spearman's rank correlation with mean ranks for ties; NaN where one side is constant.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 8.0, 27.0]))
    1.0
    """
    left, right = (_ranks(value_V) for value_V in (left_V, right_V))
    left, right = left - left.mean(), right - right.mean()
    scale = float(np.sqrt((left @ left) * (right @ right)))
    return round(float(left @ right) / scale, 12) if scale else float("nan")


def _ranks(value_V: FloatArray) -> FloatArray:
    _, place_V, count = np.unique(value_V, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2.0)[place_V]
