"""One step of training, between generation and loss: its outcome, and the advantages of its rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gdro.errors import OutcomeError
from gdro.integrations.trl.advantages import Ragged, advantages, total_rewards
from gdro.integrations.trl.batches import chosen_rows, select_rows
from gdro.integrations.trl.correct import Verdicts
from gdro.memory.placing import join_weights
from gdro.numerics.arrays import BoolArray, IntArray
from gdro.types import Outcome, Plan, Recall, Weights


@dataclass(frozen=True)
class Scored:
    """Advantages of the rows of all ranks and rounds.

    Attributes:
        advantage_R: Advantages times weights, zero for dropped rows, shape (R,).
        base_R: Advantages without weights, shape (R,).
        zero_R: Whether the rewards of the row's group do not differ, shape (R,).
        keep_R: Whether the strategy keeps the row, shape (R,).
        replay_M: Weighted advantages of the replays that joined the rows' groups, shape (M,).
    """

    advantage_R: torch.Tensor
    base_R: torch.Tensor
    zero_R: torch.Tensor
    keep_R: BoolArray
    replay_M: torch.Tensor


@dataclass(frozen=True)
class Replays:
    """Remembered rollouts that join the groups of their prompts, at most one a prompt.

    Attributes:
        recalls: The M replays; their prompts are among the outcome's.
        rewards_MK: What the K reward functions gave, shape (M, K).
    """

    recalls: tuple[Recall, ...]
    rewards_MK: npt.NDArray[np.float32]


def outcome_of(
    ticket: int,
    prompt_R: IntArray,
    tokens_R: torch.Tensor,
    rewards_RK: torch.Tensor,
    reward_weights: torch.Tensor,
    verdicts: Verdicts,
) -> Outcome:
    """The outcome of one round: rows with a total reward are trained on, rows with a verdict judged."""
    total_R = total_rewards(rewards_RK, reward_weights)
    return Outcome(
        ticket=ticket,
        prompt_R=prompt_R,
        reward_R=total_R.double().cpu().numpy(),
        correct_R=verdicts.correct_R,
        tokens_R=tokens_R.cpu().numpy().astype(np.int64),
        valid_R=(~torch.isnan(total_R)).cpu().numpy(),
        judged_R=verdicts.judged_R,
        sound_R=verdicts.sound_R,
    )


@dataclass(frozen=True)
class TrlStep:
    """The rollouts that were generated for a plan, and their weights.

    Attributes:
        plan: The plan as it was given out.
        outcome: Rows of all ranks and rounds; those of extensions follow the plan's.
        rewards_RK: Their rewards, shape (R, K).
        batches: This rank's share of each round's rows.
        weights: The controller's weights of the rows.
        trainer: The trainer, for its options, its ranks and its `adjust_advantages`.
    """

    plan: Plan
    outcome: Outcome
    rewards_RK: torch.Tensor
    batches: list[dict[str, Any]]
    weights: Weights
    trainer: Any

    def score(self, replays: Replays | None = None) -> Scored:
        """Advantages of all rows, with replays in their groups.

        Raises:
            OutcomeError: `adjust_advantages` returned another shape or values that are not finite.
        """
        scored = self._unadjusted(replays)
        before_R = scored.advantage_R
        given_R = before_R.clone()  # may be changed in place
        advantage_R = self.trainer.adjust_advantages(given_R, self.outcome, self.weights)
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
        keep_R = torch.as_tensor(scored.keep_R, device=advantage_R.device)
        return replace(scored, advantage_R=advantage_R.to(before_R.dtype) * keep_R)

    def _unadjusted(self, replays: Replays | None) -> Scored:
        rewards_RK, weights, trainer = self.rewards_RK, self.weights, self.trainer
        device, num_rows = rewards_RK.device, len(self.outcome.prompt_R)
        prompt_R, weight_R, keep_R = self.outcome.prompt_R, weights.weight_R, weights.keep_R
        if replays is not None:  # behind the rows
            recalls = replays.recalls
            weight_R = join_weights(recalls, prompt_R, weight_R, keep_R)
            prompt_R = np.concatenate([prompt_R, np.array([r.prompt for r in recalls], np.int64)])
            keep_R = np.concatenate([keep_R, np.ones(len(recalls), bool)])
            joining = torch.as_tensor(replays.rewards_MK, device=device, dtype=rewards_RK.dtype)
            rewards_RK = torch.cat([rewards_RK, joining])
        if len(prompt_R) == self.plan.num_rollouts:
            layout = Ragged.of(torch.as_tensor(self.plan.rollouts_P.copy(), device=device))
        else:
            layout = Ragged.by_prompt(torch.as_tensor(prompt_R.copy(), device=device))
        kept_R = torch.as_tensor(keep_R, device=device)
        if trainer.controller.strategy.extends and weights.baseline == "kept":
            rewards_RK = rewards_RK.masked_fill(~kept_R.unsqueeze(1), torch.nan)
        base_R, _, zero_R = advantages(
            rewards_RK,
            layout,
            trainer.reward_weights,
            trainer.scale_rewards if weights.scale == "trainer" else "none",
            trainer.multi_objective_aggregation,
        )
        factor = torch.as_tensor(weight_R * keep_R, device=device)
        if trainer.prompt_equal:
            factor = factor * layout.equal_R(kept_R | (not trainer.controller.strategy.extends))
        weighted_R = base_R * factor.to(base_R.dtype)
        rows, more = slice(num_rows), slice(num_rows, None)
        return Scored(weighted_R[rows], base_R[rows], zero_R[rows], weights.keep_R, weighted_R[more])

    def rows(self, keep_R: BoolArray) -> tuple[dict[str, Any], IntArray]:
        """This rank's batch, and the rows of all ranks that the loss takes, shape (rows,)."""
        num_rows = self.plan.num_rollouts
        if len(self.batches) == 1:
            return self.batches[0], np.arange(num_rows)
        chosen_R = chosen_rows(keep_R, num_rows)
        pad_id = self.trainer._tokenizer.pad_token_id
        return select_rows(self.batches, chosen_R, self.trainer.accelerator, pad_id), chosen_R
