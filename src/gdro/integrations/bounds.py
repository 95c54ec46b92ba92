"""Bounds on the rollouts of a prompt, held against the trainer's options before anything is loaded."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from gdro.errors import ProblemError, StrategyError
from gdro.strategy import Strategy
from gdro.types import IntArray


def check_copies(count_N: IntArray, strategy: Strategy[Any], args: Any) -> None:
    """Refuse data whose copies could leave a step with fewer prompts than its rollouts need.

    Args:
        count_N: Rows of each prompt, shape (N,); more than one are exact copies.
        strategy: The strategy; its bound is the option `n_max` of what allocates.
        args: The GRPOConfig.

    Raises:
        ProblemError: A step may take so many copies that its prompts cannot have all its rollouts.
    """
    part: Any = getattr(strategy, "allocator", strategy)
    n_max = getattr(part, "n_max", None)
    rows = args.generation_batch_size // args.num_generations
    if n_max is None or count_N.max() == 1:
        return
    fewest = 1 + int(np.searchsorted(np.cumsum(-np.sort(-count_N)), rows))
    if fewest * n_max >= rows * args.num_generations:
        return
    raise ProblemError(
        f"train_dataset has exact copies, {int(count_N.max())} of one row, and copies are one prompt: "
        f"the {rows} rows of a step may be {fewest} prompt{'s' * (fewest > 1)}, {part.name} gives one "
        f"at most n_max={n_max} rollouts, and a step has {rows * args.num_generations}. Drop copies, or "
        "tell them apart with a column: train_dataset.add_column('id', list(range(len(train_dataset)))) "
        "and id_column='id'"
    )


def check_bounds(strategy: Strategy[Any], mean: int, option: str, *, warn: bool = True) -> None:
    """Refuse bounds that the trainer's mean cannot meet, and warn of those that leave no choice.

    Args:
        strategy: The strategy; bounds are the options `n_min` and `n_max` of what allocates.
        mean: Rollouts that the trainer gives a prompt on average (n_bar).
        option: What the trainer calls it.
        warn: False: refuse only.

    Raises:
        StrategyError: The mean lies outside the bounds, so no plan spends the budget.
    """
    part: Any = getattr(strategy, "allocator", strategy)
    n_min, n_max = getattr(part, "n_min", None), getattr(part, "n_max", None)
    if n_min is None or n_max is None:
        return
    bounds = f"{part.name} gives a prompt n_min={n_min} to n_max={n_max} rollouts"
    # The paper's arms reach to three times its mean.
    wider, lower = f"{part.name}(n_max={3 * mean})", f"{part.name}(n_min=2)"
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
