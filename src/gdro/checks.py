"""Checks at the controller's boundary."""

from __future__ import annotations

from gdro.errors import BudgetError, RequestError
from gdro.types import IntArray, Request


def check_pool(request: Request, num_prompts: int) -> None:
    """Raise unless a pool of N prompts can serve a request.

    Args:
        request: The request.
        num_prompts: N.

    Raises:
        RequestError: More prompts than the pool has, or an index outside it.
    """
    if request.num_prompts > num_prompts:
        raise RequestError(
            f"num_prompts is {request.num_prompts}, the pool has {num_prompts}; ask for at most "
            f"{num_prompts}"
        )
    offered = request.offered_P
    if offered is not None and (int(offered.min()) < 0 or int(offered.max()) >= num_prompts):
        raise RequestError(
            f"offered_P spans {offered.min()}..{offered.max()}; dataset indices are 0..{num_prompts - 1}"
        )


def check_rollouts(strategy: str, rollouts_P: IntArray, request: Request) -> None:
    """Raise unless an allocation spends exactly what was asked for.

    Args:
        strategy: Name of the strategy that allocated.
        rollouts_P: Its allocation, shape (P,).
        request: The request.

    Raises:
        BudgetError: Another total, another number of prompts, or a prompt without rollouts.
    """
    spent = int(rollouts_P.sum())
    if rollouts_P.shape != (request.num_prompts,) or spent != request.num_rollouts:
        raise BudgetError(
            f"{strategy} allocated {spent} rollouts to {rollouts_P.shape} prompts, asked for "
            f"{request.num_rollouts} to {request.num_prompts}; its allocate() must be exact"
        )
    if int(rollouts_P.min()) < 1:
        raise BudgetError(f"{strategy} gave a prompt {rollouts_P.min()} rollouts; give at least 1")
