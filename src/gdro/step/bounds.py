"""Bounds on the rollouts of a prompt, held against the trainer's options before anything is loaded."""

from __future__ import annotations

import warnings
from typing import Any

from gdro.errors import StrategyError
from gdro.strategy import Strategy


def check_bounds(strategy: Strategy[Any], mean: int, option: str, *, warn: bool = True) -> None:
    """Refuse bounds that the trainer's mean cannot meet, and warn of those that leave no choice.

    Args:
        strategy: The strategy, or what allocates in it, has the bounds.
        mean: Rollouts that the trainer gives a prompt on average (n_bar).
        option: What the trainer calls it.
        warn: False: refuse only.

    Raises:
        StrategyError: The mean lies outside the bounds, so no plan spends the budget.
    """
    if strategy.bounds is None:
        return
    name, n_min, n_max = strategy.bounds
    bounds = f"{name} gives a prompt n_min={n_min} to n_max={n_max} rollouts"
    # The paper's arms reach to three times its mean.
    wider, lower = f"{name}(n_max={3 * mean})", f"{name}(n_min=2)"
    if mean > n_max:
        raise StrategyError(f"{bounds}, {option} is {mean}, above n_max; write {wider!r}")
    if mean < min(2, n_min):
        raise StrategyError(f"{bounds}, {option} is {mean}; raise {option} (a group has 2 at least)")
    if mean < n_min:
        raise StrategyError(f"{bounds}, {option} is {mean}, below n_min; write {lower!r}")
    if warn and mean in (n_min, n_max):
        fix = f"write {wider!r}" if mean == n_max else f"write {lower!r}, or raise {option}"
        fix = f"raise {option} (a group has 2 at least)" if mean == n_min == 2 else fix
        warnings.warn(
            f"{bounds}, {option} is {mean}: every prompt gets {mean}, nothing can move; {fix}",
            stacklevel=4,
        )
