"""One step of training, between generation and loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gdro.errors import OutcomeError
from gdro.integrations.trl.rows import chosen_rows, select_rows
from gdro.integrations.trl.score import AdvantageOptions, Replays, Scored, score
from gdro.numerics.arrays import BoolArray, IntArray
from gdro.types import Outcome, Plan, Weights


@dataclass(frozen=True)
class Step:
    """What was generated for a plan, and what it weighs.

    Attributes:
        plan: The plan as it was given out.
        outcome: Rows of all ranks and rounds.
        rewards_RK: Their rewards, shape (R, K).
        batches: This rank's share of each round's rows.
        weights: The controller's.
        options: How the trainer makes advantages.
        adjust: Changes advantages of all rows, given those, the outcome and the weights.
    """

    plan: Plan
    outcome: Outcome
    rewards_RK: torch.Tensor
    batches: list[dict[str, Any]]
    weights: Weights
    options: AdvantageOptions
    adjust: Callable[[torch.Tensor, Outcome, Weights], torch.Tensor]

    def score(self, replays: Replays | None = None) -> Scored:
        """Advantages of all rows, with replays in their groups.

        Raises:
            OutcomeError: What adjusts advantages returned another shape or values that are not finite.
        """
        scored = score(self.plan, self.outcome, self.rewards_RK, self.weights, self.options, replays)
        before_R = scored.advantage_R
        given_R = before_R.clone()  # may be changed in place
        advantage_R = self.adjust(given_R, self.outcome, self.weights)
        if advantage_R is given_R and torch.equal(given_R, before_R):
            return scored
        if not torch.is_tensor(advantage_R):
            raise OutcomeError(
                f"adjust_advantages returned {advantage_R!r}; it must return the advantages, a tensor "
                f"of shape {tuple(before_R.shape)}"
            )
        if advantage_R.shape != before_R.shape or not bool(advantage_R.isfinite().all()):
            wrong = int((~advantage_R.isfinite()).sum())
            raise OutcomeError(
                f"adjust_advantages returned shape {tuple(advantage_R.shape)} with {wrong} values that "
                f"are not finite; it must return finite numbers, shape {tuple(before_R.shape)}"
            )
        kept_R = torch.as_tensor(scored.keep_R, device=advantage_R.device)
        return replace(scored, advantage_R=advantage_R.to(before_R.dtype) * kept_R)

    def rows(self, keep_R: BoolArray, accelerator: Any, pad_id: int) -> tuple[dict[str, Any], IntArray]:
        """This rank's batch, and the rows of all ranks that the loss takes, shape (rows,)."""
        num_rows = self.plan.num_rollouts
        if len(self.batches) == 1:
            return self.batches[0], np.arange(num_rows)
        chosen_R = chosen_rows(keep_R, num_rows)
        return select_rows(self.batches, chosen_R, accelerator, pad_id), chosen_R
