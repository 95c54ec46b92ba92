"""Check a strategy's bounds on rollouts against the trainer's options, before anything is loaded."""

from __future__ import annotations

import warnings
from typing import Any

from gdro.errors import StrategyError
from gdro.strategy import Strategy


def check_bounds(strategy: Strategy[Any], mean: int, option: str, *, warn: bool = True) -> None:
    """Refuse bounds that exclude the trainer's mean group size, and warn if they leave no choice.

    Args:
        strategy: The strategy whose bounds are checked.
        mean: Mean rollouts per prompt (n_bar).
        option: The trainer's name of that number.
        warn: Whether to warn where every prompt would get the same number.

    Raises:
        StrategyError: The mean is outside the bounds, so no plan can spend the budget.
    """
    if strategy.bounds is None:
        return
    name, n_min, n_max = strategy.bounds
    bounds = f"{name} gives a prompt n_min={n_min} to n_max={n_max} rollouts"
    # In the paper n_max is three times the mean.
    wider, lower = f"{name}(n_max={3 * mean})", f"{name}(n_min=2)"
    if mean > n_max:
        raise StrategyError(f"{bounds}, {option} is {mean}, above n_max; write {wider!r}")
    if mean < min(2, n_min):
        raise StrategyError(f"{bounds}, {option} is {mean}; raise {option} (a group has at least 2)")
    if mean < n_min:
        raise StrategyError(f"{bounds}, {option} is {mean}, below n_min; write {lower!r}")
    if warn and mean in (n_min, n_max):
        fix = f"write {wider!r}" if mean == n_max else f"write {lower!r}, or raise {option}"
        fix = f"raise {option} (a group has at least 2)" if mean == n_min == 2 else fix
        warnings.warn(
            f"{bounds}, {option} is {mean}: every prompt gets {mean}, nothing can be reallocated; {fix}",
            stacklevel=4,
        )
