"""Per-rollout surrogate losses, collected while TRL computes its own loss."""

from __future__ import annotations

from typing import Any

import torch

from gdro.errors import UnsupportedError
from gdro.integrations.trl.turns import loss_mask
from gdro.numerics.arrays import IntArray

ROW, ADVANTAGE = "gdro_row", "gdro_advantage"


class LossCollector:
    """The clipped surrogate loss of each rollout of one plan, on this rank.

    Args:
        base_R: Advantages without weights of the rows of all ranks, shape (R,).
        mine_R: Indices of the rows in this rank's batch, shape (rows,).
    """

    def __init__(self, base_R: torch.Tensor, mine_R: IntArray) -> None:
        self._base_R = base_R
        self._mine_R = torch.as_tensor(mine_R, device=base_R.device)
        self.loss_R = torch.full_like(base_R, torch.nan, dtype=torch.float64)

    @property
    def columns(self) -> dict[str, torch.Tensor]:
        """Tensors that the batch must have: each row's index and its advantage without weights."""
        return {ROW: self._mine_R, ADVANTAGE: self._base_R[self._mine_R]}

    def add(self, logps: torch.Tensor | None, inputs: dict[str, Any], args: Any) -> None:
        """Record the rows of one micro-batch; with several iterations the last one counts.

        Raises:
            UnsupportedError: `logps` is None: the trainer's loss computed no log-probabilities.
        """
        if logps is None:
            raise UnsupportedError(
                "signal='surrogate' needs the log-probabilities of each rollout, and the trainer's loss "
                "took none through _get_per_token_logps_and_entropies; take signal='failure', or let "
                "the loss of your trainer call that method"
            )
        rows = surrogate(logps.detach(), inputs, args.epsilon, args.epsilon_high, args.beta)
        fresh = inputs[ROW] >= 0
        self.loss_R[inputs[ROW][fresh]] = rows[fresh].double()

    def replaced(self, row_M: IntArray) -> None:
        """Set the loss of rows that recalled ones replaced: on policy, it is minus their advantage.

        Each rank sets its own of the rows, since losses are summed over ranks.
        """
        rows = torch.as_tensor(row_M, device=self._base_R.device)
        rows = rows[torch.isin(rows, self._mine_R)]
        self.loss_R[rows] = -self._base_R[rows].double()

    def over_ranks(self, accelerator: Any) -> torch.Tensor:
        """Losses of all ranks' rows, NaN for rows that were not trained on, shape (R,)."""
        if accelerator.num_processes == 1:
            return self.loss_R
        loss_WR = accelerator.gather(self.loss_R.unsqueeze(0))
        return torch.nansum(loss_WR, dim=0).masked_fill(loss_WR.isnan().all(0), torch.nan)


def surrogate(
    logps: torch.Tensor,
    inputs: dict[str, Any],
    epsilon: float,
    epsilon_high: float | None,
    beta: float,
) -> torch.Tensor:
    """Token mean of the clipped surrogate plus beta times the KL estimate (eq. 6-7), shape (rows,).

    `logps` has shape (rows, T), and `inputs` is TRL's batch: masks, advantages, and the old and
    reference log-probabilities where TRL has them.
    """
    mask = loss_mask(inputs)
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
