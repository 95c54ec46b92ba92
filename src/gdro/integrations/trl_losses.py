"""Per-rollout surrogate losses, collected while TRL computes its own loss."""

from __future__ import annotations

from typing import Any

import torch

ROW, ADVANTAGE = "gdro_row", "gdro_advantage"


class LossCollector:
    """The clipped surrogate of each rollout of one plan, on this rank.

    A micro-batch holds a few rows of a prompt, so losses mean nothing until all have come. With
    several iterations the last pass counts.

    Args:
        num_rows: Rollouts of the plan, all ranks together.
        device: Where the tensor lives.
    """

    def __init__(self, num_rows: int, device: torch.device) -> None:
        self.loss_R = torch.full((num_rows,), torch.nan, dtype=torch.float64, device=device)

    def add(self, logps: torch.Tensor, inputs: dict[str, Any], args: Any) -> None:
        """Record the rows of one micro-batch.

        Args:
            logps: Log-probabilities of completion tokens, shape (rows, T).
            inputs: TRL's batch, with the rows' places and unweighted advantages.
            args: The GRPOConfig (clipping range, beta).
        """
        rows = surrogate(logps.detach(), inputs, args.epsilon, args.epsilon_high, args.beta)
        self.loss_R[inputs[ROW]] = rows.double()


def surrogate(
    logps: torch.Tensor,
    inputs: dict[str, Any],
    epsilon: float,
    epsilon_high: float | None,
    beta: float,
) -> torch.Tensor:
    """Token mean of the clipped surrogate plus beta times the KL estimate (eq. 6-7).

    Args:
        logps: Log-probabilities of completion tokens, shape (rows, T).
        inputs: Masks, advantages, and old and reference log-probabilities where TRL has them.
        epsilon: Lower clipping range.
        epsilon_high: Upper clipping range; None: as the lower.
        beta: Weight of the KL term.

    Returns:
        Shape (rows,).
    """
    mask = inputs["completion_mask"]
    old = inputs.get("old_per_token_logps")
    ratio = torch.exp(logps - (logps if old is None else old))
    high = epsilon if epsilon_high is None else epsilon_high
    advantage = inputs[ADVANTAGE].unsqueeze(1)
    clipped = torch.clamp(ratio, 1 - epsilon, 1 + high)
    loss = -torch.min(ratio * advantage, clipped * advantage)
    if "ref_per_token_logps" in inputs:
        gap = inputs["ref_per_token_logps"] - logps
        loss = loss + beta * (torch.exp(gap) - gap - 1)
    return (loss * mask).sum(1) / mask.sum(1).clamp(min=1)
