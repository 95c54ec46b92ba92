"""An outcome by rollout group: one row for each planned prompt, independent of row order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gdro.errors import OutcomeError
from gdro.numerics.arrays import BoolArray, FloatArray, IntArray
from gdro.numerics.ragged import segment_sum
from gdro.types import LARGEST, Outcome, Plan, Weights

# Differences up to this are rounding: trainers sum rewards in single precision.
_NO_SPREAD, _ROUNDING = 1e-8, 1e-6


@dataclass(frozen=True, eq=False)
class Groups:
    """The rollout groups of a plan with their outcome.

    Attributes:
        plan: Plan of the groups, which says what was asked for.
        outcome: Scored rollouts of the plan.
        position_R: Position in the plan of each row's prompt, shape (R,).
        loss_R: Loss of each row after the update where the trainer gives it, shape (R,).
    """

    plan: Plan
    outcome: Outcome
    position_R: IntArray
    loss_R: FloatArray | None = None

    @cached_property
    def received_P(self) -> IntArray:
        """Number of rows that came back, scored or not, shape (P,)."""
        return np.bincount(self.position_R, minlength=len(self.plan.prompt_P))

    @cached_property
    def trials_P(self) -> IntArray:
        """Number of judged rollouts: it is known whether they are right, shape (P,)."""
        if self.outcome.all_judged:
            return self.received_P
        return self._count(self.outcome.judged_mask_R)

    @cached_property
    def successes_P(self) -> IntArray:
        """Number of right rollouts, shape (P,)."""
        if self.outcome.all_judged:
            return self._count(self.outcome.correct_R)
        return self._count(self.outcome.judged_mask_R & self.outcome.correct_R)

    @cached_property
    def lasting_R(self) -> BoolArray:
        """Rows worth remembering: right, and no check of the work found a mistake, shape (R,)."""
        right_R = self.outcome.judged_mask_R & self.outcome.correct_R
        return right_R if self.outcome.sound_R is None else right_R & self.outcome.sound_R

    @cached_property
    def scored_P(self) -> BoolArray:
        """Groups with at least one judged rollout, from which beliefs learn, shape (P,)."""
        return self.trials_P > 0

    @property
    def verdicts(self) -> tuple[IntArray, IntArray, IntArray]:
        """Dataset index, right rollouts and judged rollouts of each group that beliefs learn from."""
        scored_P = self.scored_P
        return self.plan.prompt_P[scored_P], self.successes_P[scored_P], self.trials_P[scored_P]

    @cached_property
    def rows_P(self) -> IntArray:
        """Number of rollouts with a reward, judged or not, which the loss may see, shape (P,)."""
        if self.outcome.all_valid:
            return self.received_P
        return self._count(self.outcome.valid_mask_R)

    @cached_property
    def rewarded_P(self) -> BoolArray:
        """Groups with at least one reward, which the loss may see, shape (P,)."""
        return self.rows_P > 0

    @cached_property
    def mixed_P(self) -> BoolArray:
        """Groups with both right and wrong rollouts, by verdicts, shape (P,)."""
        return (self.successes_P > 0) & (self.successes_P < self.trials_P)

    @cached_property
    def has_gradient_P(self) -> BoolArray:
        """Groups whose rewards differ by more than rounding, so that advantages are not all zero.

        With rewards of 0 and 1 these are the mixed ones; with partial credit a group that is all wrong
        (or all right) may have a gradient. Shape (P,).
        """
        return _apart(*_range(self.outcome, self.position_R, len(self.plan.prompt_P)))

    @cached_property
    def pass_rate_P(self) -> FloatArray:
        """Pass rate, NaN where nothing was judged (which meets no bound), shape (P,)."""
        return _ratio(self.successes_P, self.trials_P)

    @cached_property
    def failure_P(self) -> FloatArray:
        """Failure rate, NaN where nothing was judged, shape (P,)."""
        return 1.0 - self.pass_rate_P

    @cached_property
    def reward_P(self) -> FloatArray:
        """Mean reward, NaN where there is none, shape (P,)."""
        return _ratio(self._sum(self.outcome.reward_R), self.rows_P)

    @cached_property
    def loss_P(self) -> FloatArray | None:
        """Mean loss after the update, NaN where no row has a reward, shape (P,)."""
        return None if self.loss_R is None else _ratio(self._sum(self.loss_R), self.rows_P)

    @cached_property
    def tokens_P(self) -> IntArray:
        """Generated tokens, zero where the trainer does not count them, shape (P,)."""
        tokens = self.outcome.tokens_R
        num = len(self.plan.prompt_P)
        if tokens is None:
            return np.zeros(num, np.int64)
        return np.bincount(self.position_R, tokens, num).astype(np.int64)

    def with_loss(self, loss_R: FloatArray) -> Groups:
        """These groups with the loss of each row after the update.

        Raises:
            OutcomeError: The losses are not finite or do not fit the rows.
        """
        shape = self.outcome.prompt_R.shape
        if loss_R.shape != shape or not bool((np.abs(loss_R) <= LARGEST).all()):
            raise OutcomeError(
                f"loss_R has shape {loss_R.shape} or values that are not finite; needs finite values "
                f"of at most {LARGEST:g} in size, of shape {shape}"
            )
        return Groups(self.plan, self.outcome, self.position_R, loss_R)

    def expand(self, weight_P: FloatArray) -> Weights:
        """Give each row its prompt's weight; rows without a reward are dropped."""
        return Weights(weight_P[self.position_R], self.outcome.valid_mask_R.copy())

    def keep_first(self, wanted_P: BoolArray) -> Weights:
        """Keep whole wanted groups, in the plan's order, while the loss has room for their rows."""
        plain = self.expand(np.ones(len(self.received_P)))
        size_P = np.where(wanted_P, self.rows_P, 0)
        fits_P = wanted_P & (np.cumsum(size_P) <= self.plan.num_rollouts)
        return Weights(plain.weight_R, plain.keep_R & fits_P[self.position_R])

    def mean_weight(self, weights: Weights) -> FloatArray:
        """Mean weight of each group's rows, one where nothing came back, shape (P,)."""
        total_P = np.bincount(self.position_R, weights.weight_R, len(self.received_P))
        return np.where(self.received_P > 0, total_P / np.maximum(self.received_P, 1), 1.0)

    def _count(self, mask_R: BoolArray) -> IntArray:
        # Sums of ones are exact in floating point.
        return np.bincount(self.position_R, mask_R, len(self.plan.prompt_P)).astype(np.int64)

    def _sum(self, value_R: FloatArray) -> FloatArray:
        position_R, num = self.position_R, len(self.plan.prompt_P)
        if self.outcome.all_valid:
            return segment_sum(value_R, position_R, num)
        valid_R = self.outcome.valid_mask_R
        return segment_sum(value_R[valid_R], position_R[valid_R], num)


def differ(rewards: Sequence[float]) -> bool:
    """Whether the rewards of one group differ by more than rounding.

    >>> differ([0.1, 0.1, 0.4]), differ([0.3, 0.1 + 0.2]), differ([])
    (True, False, False)
    """
    return bool(rewards) and bool(_apart(np.array(min(rewards)), np.array(max(rewards))))


def differing_rows(outcome: Outcome) -> BoolArray:
    """Rows of prompts whose rewards differ by more than rounding, extensions included, shape (R,)."""
    _, position_R = np.unique(outcome.prompt_R, return_inverse=True)
    low_P, high_P = _range(outcome, position_R, int(position_R.max(initial=-1)) + 1)
    return _apart(low_P, high_P)[position_R]


def _range(outcome: Outcome, position_R: IntArray, num: int) -> tuple[FloatArray, FloatArray]:
    """Least and largest reward of each group; zero where there is none, shape (P,) each."""
    valid_R = outcome.valid_mask_R
    position_R, reward_R = position_R[valid_R], outcome.reward_R[valid_R]
    low_P, high_P = np.full(num, np.inf), np.full(num, -np.inf)
    np.minimum.at(low_P, position_R, reward_R)
    np.maximum.at(high_P, position_R, reward_R)
    some_P = low_P <= high_P
    return np.where(some_P, low_P, 0.0), np.where(some_P, high_P, 0.0)


def _apart(low: FloatArray, high: FloatArray) -> BoolArray:
    return high - low > _NO_SPREAD + _ROUNDING * np.maximum(np.abs(low), np.abs(high))


def _ratio(value_P: FloatArray | IntArray, count_P: IntArray) -> FloatArray:
    """Value over count, NaN where nothing was counted, shape (P,)."""
    if bool((count_P > 0).all()):
        return value_P / count_P
    return np.where(count_P > 0, value_P / np.maximum(count_P, 1), np.nan)


def group(plan: Plan, outcome: Outcome) -> Groups:
    """Assign an outcome's rows to the prompts of its plan.

    Raises:
        OutcomeError: A row's prompt is not in the plan, or a prompt has more rows than planned.
    """
    groups = Groups(plan, outcome, _positions(plan, outcome))
    extra_P = groups.received_P > plan.rollouts_P
    if extra_P.any():
        p = int(np.flatnonzero(extra_P)[0])
        raise OutcomeError(
            f"prompt {plan.prompt_P[p]} of ticket {plan.ticket} has {groups.received_P[p]} rows, "
            f"{plan.rollouts_P[p]} were planned; pass each rollout once"
        )
    return groups


def _positions(plan: Plan, outcome: Outcome) -> IntArray:
    if np.array_equal(outcome.prompt_R, plan.prompt_R):  # rows in plan order need no search
        return np.repeat(np.arange(len(plan.prompt_P)), plan.rollouts_P)
    order = np.argsort(plan.prompt_P, kind="stable")
    sorted_P = plan.prompt_P[order]
    slot_R = np.minimum(np.searchsorted(sorted_P, outcome.prompt_R), len(sorted_P) - 1)
    wrong_R = sorted_P[slot_R] != outcome.prompt_R
    if wrong_R.any():
        raise OutcomeError(
            f"outcome of ticket {plan.ticket} has a row of prompt {outcome.prompt_R[wrong_R][0]}, "
            "which its plan does not hold; rows must carry the dataset index of a planned prompt"
        )
    return order[slot_R]
