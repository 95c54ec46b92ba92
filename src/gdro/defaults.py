"""The strategy for those who name none."""

from __future__ import annotations

from typing import Any

from gdro.errors import StrategyError
from gdro.registry import named
from gdro.strategy import Strategy


def default_strategy(mean_rollouts: int = 4) -> Strategy[Any]:
    """The preset `gdro`: what the headline study confirmed (studies/headline.yaml, docs/results.md).

    Thompson draws of prompts near a pass rate of .1, rollouts by their worth from two to twice the mean,
    advantages of pass@2 within each group, and a memory of successes.

    Args:
        mean_rollouts: Rollouts a prompt has on average (n_bar, TRL's `num_generations`).

    Returns:
        The strategy, a `joint`.

    Raises:
        StrategyError: `mean_rollouts` is below 2.

    >>> default_strategy(4).allocator.n_max
    8
    """
    if mean_rollouts < 2:
        raise StrategyError(
            f"mean_rollouts is {mean_rollouts}; a group has at least 2 (one rollout has no advantage)"
        )
    return named("gdro", {}, mean_rollouts)
