"""From TRL's rewards to an outcome, and from weights to advantages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gdro.integrations.trl_advantages import Ragged, advantages, total_rewards
from gdro.integrations.trl_support import Correct
from gdro.types import BoolArray, IntArray, Outcome, Plan, Weights


@dataclass(frozen=True)
class AdvantageOptions:
    """How the trainer turns rewards into advantages.

    Attributes:
        reward_weights: Of the K reward functions, shape (K,).
        scale_rewards: As in GRPOConfig.
        aggregation: `multi_objective_aggregation` of GRPOConfig.
        prompt_equal: Give every prompt the same weight in a mean over rows.
        extends: The strategy may drop scored rows, so the baseline must be told.
    """

    reward_weights: torch.Tensor
    scale_rewards: str
    aggregation: str
    prompt_equal: bool
    extends: bool


@dataclass(frozen=True)
class Scored:
    """Rows of all ranks and rounds.

    Attributes:
        advantage_R: Weighted advantages, shape (R,).
        base_R: Without weights, shape (R,).
        zero_R: Rows whose reward deviation is zero, shape (R,).
        keep_R: Rows to keep, shape (R,).
    """

    advantage_R: torch.Tensor
    base_R: torch.Tensor
    zero_R: torch.Tensor
    keep_R: BoolArray


def outcome_of(
    ticket: int,
    prompt_R: IntArray,
    tokens_R: torch.Tensor,
    rewards_RK: torch.Tensor,
    reward_weights: torch.Tensor,
    correct: Correct,
) -> Outcome:
    """The outcome of one round.

    Args:
        ticket: The plan's.
        prompt_R: Dataset index of each row, shape (R,).
        tokens_R: Generated tokens, shape (R,).
        rewards_RK: Rewards (NaN: none), shape (R, K).
        reward_weights: Shape (K,).
        correct: Which reward says that a row is right.

    Returns:
        The outcome.
    """
    judged_R = rewards_RK[:, correct.column]
    total_R = total_rewards(rewards_RK, reward_weights)
    # A reward of None from the function that judges leaves nothing to learn difficulty from.
    valid_R = ~torch.isnan(total_R) & ~torch.isnan(judged_R)
    return Outcome(
        ticket=ticket,
        prompt_R=prompt_R,
        reward_R=total_R.double().cpu().numpy(),
        correct_R=(judged_R > correct.threshold).cpu().numpy(),
        tokens_R=tokens_R.cpu().numpy().astype(np.int64),
        valid_R=valid_R.cpu().numpy(),
    )


def score(
    plan: Plan, outcome: Outcome, rewards_RK: torch.Tensor, weights: Weights, options: AdvantageOptions
) -> Scored:
    """Advantages of an outcome's rows.

    Args:
        plan: The plan as it was given out.
        outcome: All rows, those of extensions after the plan's.
        rewards_RK: Their rewards, shape (R, K).
        weights: The controller's.
        options: The trainer's.

    Returns:
        Advantages; dropped rows have zero.
    """
    device, planned = rewards_RK.device, len(outcome.prompt_R) == plan.num_rollouts
    keep_R = torch.as_tensor(weights.keep_R, device=device)
    if planned:
        layout = Ragged.of(torch.as_tensor(plan.rollouts_P.copy(), device=device))
    else:
        layout = Ragged.by_prompt(torch.as_tensor(outcome.prompt_R.copy(), device=device))
    if options.extends and weights.baseline == "kept":
        rewards_RK = rewards_RK.masked_fill(~keep_R.unsqueeze(1), torch.nan)
    base_R, _, zero_R = advantages(
        rewards_RK, layout, options.reward_weights, options.scale_rewards, options.aggregation
    )
    factor = torch.as_tensor(weights.weight_R * weights.keep_R, device=device)
    if options.prompt_equal:
        factor = factor * layout.equal_R(keep_R | (not options.extends))
    return Scored(base_R * factor.to(base_R.dtype), base_R, zero_R, weights.keep_R)
