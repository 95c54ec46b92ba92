"""Checks at the controller's boundary."""

from __future__ import annotations

from numbers import Integral
from typing import Any, cast

import numpy as np

from gdro.difficulty.tracker import Difficulty
from gdro.errors import BudgetError, GdroError, ProblemError, RequestError, StrategyError
from gdro.numerics.arrays import IntArray, frozen
from gdro.problem import Problem
from gdro.strategy import More, Strategy
from gdro.types import Outcome, Plan, Request, Weights

_MOST_ROUNDS = 1000  # of extensions of one plan


def check_options(seed: int, max_pending: int) -> None:
    """Raise for options of a controller that are out of range.

    Args:
        seed: Seed of all randomness.
        max_pending: Most plans in flight.

    Raises:
        GdroError: Not a whole number, or too small.
    """
    for name, value, least in (("seed", seed, 0), ("max_pending", max_pending, 1)):
        if not isinstance(value, Integral) or value < least:
            raise GdroError(f"{name} is {value!r}; allowed: a whole number, {least} or more")


def check_seed(seed: int, option: str, error: type[GdroError] = GdroError) -> None:
    """Raise unless a seed is one that every generator of random numbers takes.

    Args:
        seed: The seed.
        option: What the caller calls it.
        error: Raised.

    Raises:
        GdroError: Of the class `error`: negative, or above 2**32 - 1.
    """
    if not 0 <= seed < 2**32:
        raise error(f"{option} is {seed}; it must be at least 0 and at most {2**32 - 1}")


def check_parts(strategy: object, difficulty: object) -> None:
    """Raise unless a controller's parts are what they should be, e.g. for a strategy's bare name.

    Args:
        strategy: Should be a strategy.
        difficulty: Should be a `Difficulty` or None.

    Raises:
        StrategyError: Not a strategy, or not a `Difficulty`.
    """
    if not isinstance(strategy, Strategy):
        fix = f"make_strategy({strategy!r})" if isinstance(strategy, str) else "make_strategy(NAME)"
        raise StrategyError(f"strategy is {strategy!r}; it must be a strategy object: pass {fix}")
    if difficulty is not None and not isinstance(difficulty, Difficulty):
        given = cast("dict[str, Any]", difficulty) if isinstance(difficulty, dict) else None
        options = "..." if given is None else ", ".join(f"{k}={v!r}" for k, v in given.items())
        raise StrategyError(
            f"difficulty is {difficulty!r}; it must be an object: pass gdro.Difficulty({options})"
        )


def check_columns(strategy: Strategy[Any], problem: Problem) -> None:
    """Raise unless a pool has the columns that a strategy reads.

    Args:
        strategy: The strategy.
        problem: The pool.

    Raises:
        ProblemError: A column is missing, or holds text where numbers are needed.
    """
    for name in strategy.columns:
        if problem.column(name, f"strategy {strategy.name!r}").dtype.kind == "U":
            raise ProblemError(
                f"strategy {strategy.name!r} needs numbers in the column {name!r}, it holds text; map "
                "it to numbers first"
            )


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


def check_selected(strategy: str, selected: Any, request: Request, num_prompts: int) -> IntArray:
    """What a strategy selected, as strictly checked as what a trainer offers.

    Args:
        strategy: Name of the strategy that selected.
        selected: What its `select` returned.
        request: The request.
        num_prompts: N.

    Returns:
        Dataset indices, shape (P,).

    Raises:
        StrategyError: They are not `request.num_prompts` distinct indices of the pool.
    """
    prompt_P = _whole(strategy, "select()", selected, "dataset indices")
    outside = prompt_P[(prompt_P < 0) | (prompt_P >= num_prompts)]
    problem = None
    if len(prompt_P) != request.num_prompts:
        problem = f"{len(prompt_P)} prompts, asked for {request.num_prompts}"
    elif len(outside):
        problem = f"prompt {outside[0]}, the pool has 0..{num_prompts - 1}"
    elif len(np.unique(prompt_P)) < len(prompt_P):
        problem = f"a prompt twice: {prompt_P.tolist()[:8]}"
    if problem is not None:
        raise StrategyError(
            f"strategy {strategy!r} selected {problem}; its select() must return num_prompts distinct "
            "dataset indices"
        )
    return prompt_P


def _whole(strategy: str, hook: str, values: Any, what: str) -> IntArray:
    """A 1-D integer array that a strategy returned; fractions would be cut off without a word."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise StrategyError(
            f"strategy {strategy!r}: {hook} returned an array of shape {array.shape} and dtype "
            f"{array.dtype}; it must return {what}, a 1-D array of integers (round them in the strategy)"
        )
    return frozen(array, np.int64)


def check_rollouts(strategy: str, allocated: Any, request: Request) -> IntArray:
    """An allocation that spends exactly what was asked for.

    Args:
        strategy: Name of the strategy that allocated.
        allocated: What its `allocate` returned.
        request: The request.

    Returns:
        Rollouts of each prompt, shape (P,).

    Raises:
        StrategyError: They are not whole numbers.
        BudgetError: Another total, another number of prompts, or a prompt without rollouts.
    """
    rollouts_P = _whole(strategy, "allocate()", allocated, "rollouts of each prompt")
    spent = int(rollouts_P.sum())
    if rollouts_P.shape != (request.num_prompts,) or spent != request.num_rollouts:
        raise BudgetError(
            f"{strategy} allocated {spent} rollouts to {rollouts_P.shape} prompts, asked for "
            f"{request.num_rollouts} to {request.num_prompts}; its allocate() must be exact"
        )
    if int(rollouts_P.min()) < 1:
        raise BudgetError(f"{strategy} gave a prompt {rollouts_P.min()} rollouts; give at least 1")
    return rollouts_P


def check_more(strategy: str, more: More, num_prompts: int, round: int) -> None:
    """Raise unless an extension is well formed.

    Args:
        strategy: Name of the strategy that asked for it.
        more: The further rollouts.
        num_prompts: N.
        round: Extensions of the plan so far.

    Raises:
        StrategyError: A prompt twice or outside the pool, no rollouts, or rounds without end.
    """
    prompt_P = _whole(strategy, "extend()", more.prompt_P, "dataset indices in More.prompt_P")
    rollouts_P = _whole(strategy, "extend()", more.rollouts_P, "rollouts in More.rollouts_P")
    if round >= _MOST_ROUNDS:
        raise StrategyError(
            f"{strategy} asked for a {round + 1}th extension of one plan; bound its rounds, at most "
            f"{_MOST_ROUNDS}"
        )
    if not len(prompt_P) or len(np.unique(prompt_P)) < len(prompt_P):
        raise StrategyError(f"{strategy} extends by no prompt, or by one twice: {prompt_P.tolist()[:8]}")
    if int(prompt_P.min()) < 0 or int(prompt_P.max()) >= num_prompts:
        raise StrategyError(
            f"{strategy} extends by prompts {prompt_P.min()}..{prompt_P.max()}; the pool has "
            f"{num_prompts}"
        )
    if rollouts_P.shape != prompt_P.shape or int(rollouts_P.min()) < 1:
        raise StrategyError(f"{strategy} extends by {rollouts_P.tolist()[:8]} rollouts; at least 1 each")


def check_weights(strategy: str, weights: Weights, outcome: Outcome, plan: Plan) -> None:
    """Raise unless weights are finite, fit the rows, and keep no more of them than the loss takes.

    Args:
        strategy: Name of the strategy that weighed.
        weights: Its weights.
        outcome: The rows that it weighed.
        plan: The plan.

    Raises:
        StrategyError: Another shape, a weight that is not finite, or too many rows.
    """
    weight_R, keep_R, shape = weights.weight_R, weights.keep_R, outcome.prompt_R.shape
    if weight_R.shape != shape or keep_R.shape != shape or not bool(np.isfinite(weight_R).all()):
        raise StrategyError(
            f"{strategy} gave ticket {plan.ticket} weights of shape {weight_R.shape}, or some that are "
            f"not finite; its weigh() must give one finite weight to each of {shape[0]} rows"
        )
    kept = int(np.count_nonzero(keep_R)) if len(keep_R) > plan.num_rollouts else 0
    if kept > plan.num_rollouts:
        raise StrategyError(
            f"{strategy} keeps {kept} rows of ticket {plan.ticket}, the loss takes {plan.num_rollouts}; "
            "its weigh() must drop the others"
        )
