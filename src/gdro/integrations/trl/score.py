"""From TRL's rewards to an outcome, and from weights to advantages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gdro.integrations.trl.advantages import Ragged, advantages, total_rewards
from gdro.integrations.trl.correct import Judged
from gdro.memory.placing import join_weights
from gdro.numerics.arrays import BoolArray, FloatArray, IntArray
from gdro.types import Outcome, Plan, Recall, Weights


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
        replay_M: Weighted advantages of replays that joined the rows' groups, shape (M,).
    """

    advantage_R: torch.Tensor
    base_R: torch.Tensor
    zero_R: torch.Tensor
    keep_R: BoolArray
    replay_M: torch.Tensor


@dataclass(frozen=True)
class Replays:
    """Remembered rollouts that join the groups of their prompts.

    Attributes:
        recalls: M replays, their prompts among the outcome's, each once.
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
    judged: Judged,
) -> Outcome:
    """The outcome of one round.

    Args:
        ticket: The plan's.
        prompt_R: Dataset index of each row, shape (R,).
        tokens_R: Generated tokens, shape (R,).
        rewards_RK: Rewards (NaN: none), shape (R, K).
        reward_weights: Shape (K,).
        judged: Which rows are right.

    Returns:
        The outcome: a row with a total reward trains, one with a verdict moves beliefs.
    """
    total_R = total_rewards(rewards_RK, reward_weights)
    return Outcome(
        ticket=ticket,
        prompt_R=prompt_R,
        reward_R=total_R.double().cpu().numpy(),
        correct_R=judged.correct_R,
        tokens_R=tokens_R.cpu().numpy().astype(np.int64),
        valid_R=(~torch.isnan(total_R)).cpu().numpy(),
        judged_R=judged.judged_R,
    )


def score(
    plan: Plan,
    outcome: Outcome,
    rewards_RK: torch.Tensor,
    weights: Weights,
    options: AdvantageOptions,
    replays: Replays | None = None,
) -> Scored:
    """Advantages of an outcome's rows.

    Args:
        plan: The plan as it was given out.
        outcome: All rows, those of extensions after the plan's.
        rewards_RK: Their rewards, shape (R, K).
        weights: The controller's.
        options: The trainer's.
        replays: What joins the groups; each has its group's weight.

    Returns:
        Advantages; dropped rows have zero.
    """
    device, num_rows = rewards_RK.device, len(outcome.prompt_R)
    prompt_R, weight_R, kept_R = outcome.prompt_R, weights.weight_R, weights.keep_R
    if replays is not None:
        prompt_R, weight_R, kept_R = _joined(replays.recalls, prompt_R, weight_R, kept_R)
        joining = torch.as_tensor(replays.rewards_MK, device=device, dtype=rewards_RK.dtype)
        rewards_RK = torch.cat([rewards_RK, joining])
    keep_R = torch.as_tensor(kept_R, device=device)
    if len(prompt_R) == plan.num_rollouts:
        layout = Ragged.of(torch.as_tensor(plan.rollouts_P.copy(), device=device))
    else:
        layout = Ragged.by_prompt(torch.as_tensor(prompt_R.copy(), device=device))
    if options.extends and weights.baseline == "kept":
        rewards_RK = rewards_RK.masked_fill(~keep_R.unsqueeze(1), torch.nan)
    base_R, _, zero_R = advantages(
        rewards_RK, layout, options.reward_weights, options.scale_rewards, options.aggregation
    )
    factor = torch.as_tensor(weight_R * kept_R, device=device)
    if options.prompt_equal:
        factor = factor * layout.equal_R(keep_R | (not options.extends))
    weighted_R = base_R * factor.to(base_R.dtype)
    rows, more = slice(num_rows), slice(num_rows, None)
    return Scored(weighted_R[rows], base_R[rows], zero_R[rows], weights.keep_R, weighted_R[more])


def _joined(
    recalls: tuple[Recall, ...], prompt_R: IntArray, weight_R: FloatArray, keep_R: BoolArray
) -> tuple[IntArray, FloatArray, BoolArray]:
    """Prompts, weights and keeps with those of replays behind them."""
    return (
        np.concatenate([prompt_R, np.array([r.prompt for r in recalls], np.int64)]),
        join_weights(recalls, prompt_R, weight_R, keep_R),
        np.concatenate([keep_R, np.ones(len(recalls), bool)]),
    )
