"""Exact budgets: allocations that spend a total to the last rollout."""

from __future__ import annotations

import numpy as np

from gdro.errors import BudgetError
from gdro.numerics.arrays import FloatArray, IntArray


def check_feasible(num_prompts: int, total: int, n_min: int, n_max: int) -> None:
    """Raise BudgetError unless P n_min <= total <= P n_max."""
    if not n_min * num_prompts <= total <= n_max * num_prompts:
        raise BudgetError(
            f"{total} rollouts for {num_prompts} prompts (mean {total / num_prompts:.3g}) do not fit "
            f"arms {n_min}..{n_max}: allowed totals are {n_min * num_prompts}..{n_max * num_prompts}; "
            "change num_generations, n_min or n_max"
        )


def even_split(num_prompts: int, total: int) -> IntArray:
    """Spread `total` over P prompts as evenly as integers allow, the first ones getting the rest.

    >>> even_split(3, 8).tolist()
    [3, 3, 2]
    """
    base, rest = divmod(total, num_prompts)
    return base + (np.arange(num_prompts) < rest).astype(np.int64)


def greedy(value_PA: FloatArray, total: int, n_min: int, count_P: IntArray | None = None) -> IntArray:
    """Spend a feasible total where the next rollout is worth most; exact for concave utilities.

    The columns of `value_PA` are the utilities of n_min, n_min+1, ... rollouts. With counts, row b
    stands for `count_P[b]` prompts of one bin, and the last bin served may be split between two
    adjacent arms. Equal marginal values go level by level, then by position. Returns the rollouts of
    each row in all, shape (P,), which sum to the total.
    """
    count = np.ones(len(value_PA), np.int64) if count_P is None else count_P
    gain_PA = np.diff(value_PA, axis=1)
    # Rounding may break the monotony of the gains by an ulp, which would buy steps out of order.
    gain_PA = np.minimum.accumulate(gain_PA, axis=1)
    left = total - n_min * int(count.sum())
    if count_P is None:
        return n_min + _top_steps(gain_PA, left)
    order = np.argsort(-gain_PA.T, axis=None, kind="stable")
    size = np.broadcast_to(count, gain_PA.T.shape).ravel()[order]
    bought = np.clip(left - (np.cumsum(size) - size), 0, size)
    rows = order % len(count)
    return n_min * count + np.bincount(rows, bought, len(count)).astype(np.int64)


def _top_steps(gain_PA: FloatArray, steps: int) -> IntArray:
    """How many of the `steps` largest gains are in each row; the gains of a row fall, shape (P,)."""
    num_prompts = len(gain_PA)
    if steps == 0 or not gain_PA.size:
        return np.zeros(num_prompts, np.int64)
    threshold = float(-np.partition(-gain_PA.ravel(), steps - 1)[steps - 1])
    above_P = np.count_nonzero(gain_PA > threshold, axis=1).astype(np.int64)
    tie_PA = gain_PA == threshold
    # Column-major order: every tied prompt gets one more before any gets two more.
    prompt_T = np.nonzero(tie_PA.T)[1][: steps - int(above_P.sum())]
    return above_P + np.bincount(prompt_T, minlength=num_prompts)


def choose_arms(
    value_BA: FloatArray, count_B: IntArray, total: int, n_min: int, split: bool = True
) -> IntArray:
    """One arm for each bin: maximise sum_b count_b value_b(n_b) with sum_b count_b n_b = total.

    Dynamic programming over reachable totals; values need not be concave. The arms are n_min, n_min+1,
    ...; ties go to the smaller one. With `split`, when no choice of whole bins meets the total, the
    prompts of one bin take two adjacent arms, chosen among the best whole choices below the total.
    Returns the rollouts of each bin in all, shape (B,).

    Raises:
        BudgetError: No choice of whole bins meets the total.
    """
    budget = total - n_min * int(count_B.sum())
    best_BT = _forward(value_BA, count_B, budget)
    best_T = best_BT[-1]
    if np.isfinite(best_T[budget]):
        steps_B = _backtrack(best_BT, value_BA, count_B, np.array([budget]))[0]
        return count_B * (n_min + steps_B)
    if not split:
        reach = np.flatnonzero(np.isfinite(best_T)) + total - budget
        raise BudgetError(
            f"bins of {count_B.tolist()} prompts cannot spend exactly {total} rollouts with one arm "
            f"each (nearest below: {reach[-1] if len(reach) else 'none'}); use split=True"
        )
    return _complete(value_BA, count_B, budget, best_BT) + n_min * count_B


def _forward(value_BA: FloatArray, count_B: IntArray, budget: int) -> FloatArray:
    """Best value of every total 0..budget with the first b bins, row b; shape (B+1, budget+1)."""
    num_bins, num_arms = value_BA.shape
    best_BT = np.full((num_bins + 1, budget + 1), -np.inf)
    best_BT[0, 0] = 0.0
    work = np.empty(budget + 1)
    reach = 0  # no total above it can be met by the bins so far
    for b, count in enumerate(count_B.tolist()):
        before, after = best_BT[b], best_BT[b + 1]
        for a, value in enumerate((count * value_BA[b]).tolist()):
            end = min(reach, budget - a * count) + 1
            if end <= 0:
                break
            place = slice(a * count, a * count + end)
            np.add(before[:end], value, out=work[:end])
            np.maximum(after[place], work[:end], out=after[place])
        reach = min(budget, reach + (num_arms - 1) * count)
    return best_BT


def _backtrack(
    best_BT: FloatArray, value_BA: FloatArray, count_B: IntArray, total_C: IntArray
) -> IntArray:
    """Steps above n_min of each bin for several totals at once, shape (C, B).

    Storing the best arm of each total would double the forward pass, so it is computed again, with the
    same sums, for the totals on the way only.
    """
    left_C = total_C.copy()
    steps_CB = np.zeros((len(total_C), len(count_B)), np.int64)
    arm_A = np.arange(value_BA.shape[1], dtype=np.int64)
    for b in range(len(count_B) - 1, -1, -1):
        before_CA = left_C[:, None] - count_B[b] * arm_A
        reached_CA = np.where(before_CA >= 0, best_BT[b, np.maximum(before_CA, 0)], -np.inf)
        steps_CB[:, b] = (reached_CA + count_B[b] * value_BA[b]).argmax(axis=1)
        left_C = left_C - steps_CB[:, b] * count_B[b]
    return steps_CB


def _complete(value_BA: FloatArray, count_B: IntArray, budget: int, best_BT: FloatArray) -> IntArray:
    """Meet a total that whole bins miss: some prompts of one bin take the next arm."""
    best_T = best_BT[-1]
    low = max(0, budget - int(count_B.max()) + 1)
    total_C = low + np.flatnonzero(np.isfinite(best_T[low:budget]))
    steps_CB = _backtrack(best_BT, value_BA, count_B, total_C)
    rest_C = budget - total_C
    top = value_BA.shape[1] - 1
    rows = np.arange(len(count_B))
    gain_CB = value_BA[rows, np.minimum(steps_CB + 1, top)] - value_BA[rows, steps_CB]
    allowed_CB = (steps_CB < top) & (rest_C[:, None] < count_B)
    score_CB = np.where(allowed_CB, best_T[total_C][:, None] + rest_C[:, None] * gain_CB, -np.inf)
    if not np.isfinite(score_CB.max(initial=-np.inf)):
        # No best choice below leaves room in one bin: fill bins in order, which always ends exactly.
        return greedy(np.zeros_like(value_BA), budget, 0, count_B)
    c, b = np.unravel_index(int(score_CB.argmax()), score_CB.shape)
    rollouts_B = count_B * steps_CB[c]
    rollouts_B[b] += rest_C[c]
    return rollouts_B
