"""Group-normalised advantages for groups of unequal size, by TRL's own formulas.

Groups are laid out as rows of a matrix padded with NaN and reduced by the NaN-aware functions that
TRL itself uses, so that groups of equal size give TRL's numbers bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from trl.trainer.utils import nanstd

_EPS = 1e-4  # as in GRPOTrainer


@dataclass(frozen=True)
class Ragged:
    """Layout of R flat rows as G groups of at most M rows.

    Attributes:
        group_R: Group of each row, shape (R,).
        slot_R: Place of each row in its group, shape (R,).
        num_groups: G.
        width: M.
    """

    group_R: torch.Tensor
    slot_R: torch.Tensor
    num_groups: int
    width: int

    @classmethod
    def of(cls, size_G: torch.Tensor) -> Ragged:
        """Layout of consecutive groups of the given sizes, shape (G,)."""
        group_R = torch.repeat_interleave(torch.arange(len(size_G), device=size_G.device), size_G)
        start_G = torch.cumsum(size_G, 0) - size_G
        slot_R = torch.arange(len(group_R), device=size_G.device) - start_G[group_R]
        return cls(group_R, slot_R, len(size_G), int(size_G.max()))

    @classmethod
    def by_prompt(cls, prompt_R: torch.Tensor) -> Ragged:
        """Layout of rows in any order, by the prompt of each, shape (R,)."""
        _, position_R = torch.unique(prompt_R, return_inverse=True)
        order = torch.argsort(position_R, stable=True)
        size_G = torch.bincount(position_R)
        slot_R = torch.empty_like(position_R)
        start_G = torch.cumsum(size_G, 0) - size_G
        ranks = torch.arange(len(position_R), device=position_R.device)
        slot_R[order] = ranks - start_G[position_R[order]]
        return cls(position_R, slot_R, len(size_G), int(size_G.max()))

    def pad(self, value_R: torch.Tensor) -> torch.Tensor:
        """Matrix (G, M, ...) of the groups' rows, NaN beyond their sizes."""
        shape = (self.num_groups, self.width, *value_R.shape[1:])
        padded = torch.full(shape, torch.nan, dtype=value_R.dtype, device=value_R.device)
        padded[self.group_R, self.slot_R] = value_R
        return padded

    def equal_R(self, counts_R: torch.Tensor) -> torch.Tensor:
        """Mean group size over each row's own, of the rows that count, shape (R,)."""
        size_G = torch.bincount(self.group_R[counts_R], minlength=self.num_groups).double()
        return size_G[size_G > 0].mean() / size_G.clamp(min=1.0)[self.group_R]


def total_rewards(rewards_RK: torch.Tensor, reward_weights: torch.Tensor) -> torch.Tensor:
    """Weighted sum over reward functions, NaN where none of them gave a reward, shape (R,)."""
    total_R = (rewards_RK * reward_weights.to(rewards_RK.device).unsqueeze(0)).nansum(dim=1)
    total_R[torch.isnan(rewards_RK).all(dim=1)] = torch.nan
    return total_R


def advantages(
    rewards_RK: torch.Tensor,
    layout: Ragged,
    reward_weights: torch.Tensor,
    scale_rewards: str,
    aggregation: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Advantages of ragged groups.

    Rewards that a function did not give are NaN; `scale_rewards` and `aggregation` are as in GRPOConfig.

    Returns:
        Advantages, total rewards (NaN where no function gave one), and whether the standard
        deviation that scales the row is zero, each shape (R,). A group of one has advantage zero.
    """
    weights = reward_weights.to(rewards_RK.device).unsqueeze(0)
    dead_R = torch.isnan(rewards_RK).all(dim=1)
    total_R = total_rewards(rewards_RK, reward_weights)
    if aggregation == "sum_then_normalize":
        advantage_R, std_R = _sum_then_normalize(total_R, layout, scale_rewards)
    else:
        advantage_R, std_R = _normalize_then_sum(rewards_RK, weights, dead_R, layout)
    zero_R = torch.isclose(std_R, torch.zeros_like(std_R))
    return torch.nan_to_num(advantage_R, nan=0.0), total_R, zero_R


def _sum_then_normalize(
    total_R: torch.Tensor, layout: Ragged, scale_rewards: str
) -> tuple[torch.Tensor, torch.Tensor]:
    padded = layout.pad(total_R)
    mean_R = torch.nanmean(padded, dim=1)[layout.group_R]
    if scale_rewards == "batch":
        std_R = nanstd(total_R).expand_as(total_R)
    else:
        std_R = nanstd(padded, dim=1)[layout.group_R]
    advantage_R = total_R - mean_R
    return (advantage_R if scale_rewards == "none" else advantage_R / (std_R + _EPS)), std_R


def _normalize_then_sum(
    rewards_RK: torch.Tensor, weights: torch.Tensor, dead_R: torch.Tensor, layout: Ragged
) -> tuple[torch.Tensor, torch.Tensor]:
    padded = layout.pad(rewards_RK)
    mean_GK = torch.nanmean(padded, dim=1, keepdim=True)
    scaled = (padded - mean_GK) / (nanstd(padded, dim=1, keepdim=True) + _EPS)
    total_R = (scaled[layout.group_R, layout.slot_R] * weights).nansum(dim=1)
    total_R[dead_R] = torch.nan
    std_R = nanstd(total_R).expand_as(total_R)
    return (total_R - torch.nanmean(total_R)) / (std_R + _EPS), std_R
