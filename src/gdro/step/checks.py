"""Checks of what trainers and strategies pass to the controller."""

from __future__ import annotations

from numbers import Integral
from typing import Any, cast

import numpy as np

from gdro.difficulty.tracker import Difficulty
from gdro.errors import BudgetError, GdroError, ProblemError, RequestError, StrategyError
from gdro.numerics.arrays import IntArray, distinct, frozen
from gdro.problem import Problem
from gdro.strategy import More, Strategy, check_roles
from gdro.types import Outcome, Plan, Request, Weights

_MOST_ROUNDS = 1000  # of extensions of one plan


def check_options(seed: int, max_pending: int) -> None:
    """Raise GdroError for an option of the controller that is out of range."""
    for name, value, least in (("seed", seed, 0), ("max_pending", max_pending, 1)):
        if not isinstance(value, Integral) or value < least:
            raise GdroError(f"{name} is {value!r}; allowed: a whole number, {least} or more")


def check_seed(seed: int, option: str, error: type[GdroError] = GdroError) -> None:
    """Raise `error` unless every random number generator accepts the seed given as `option`."""
    if not 0 <= seed < 2**32:
        raise error(f"{option} is {seed}; it must be at least 0 and at most {2**32 - 1}")


def check_parts(strategy: object, difficulty: object) -> None:
    """Raise StrategyError unless these are a strategy, and a `Difficulty` or None."""
    if not isinstance(strategy, Strategy):
        fix = f"make_strategy({strategy!r})" if isinstance(strategy, str) else "make_strategy(NAME)"
        raise StrategyError(f"strategy is {strategy!r}; it must be a strategy object: pass {fix}")
    check_roles(cast("Strategy[Any]", strategy))
    if difficulty is not None and not isinstance(difficulty, Difficulty):
        given = cast("dict[str, Any]", difficulty) if isinstance(difficulty, dict) else None
        options = "..." if given is None else ", ".join(f"{k}={v!r}" for k, v in given.items())
        raise StrategyError(
            f"difficulty is {difficulty!r}; it must be an object: pass gdro.Difficulty({options})"
        )


def check_columns(strategy: Strategy[Any], problem: Problem) -> None:
    """Raise ProblemError if the dataset lacks a column that the strategy reads, or it is text."""
    for name in strategy.columns:
        if problem.column(name, f"strategy {strategy.name!r}").dtype.kind == "U":
            raise ProblemError(
                f"strategy {strategy.name!r} needs numbers in the column {name!r}, which holds text; "
                "convert it to numbers first"
            )


def check_pool(request: Request, num_prompts: int) -> None:
    """Raise RequestError if a request exceeds a dataset of N prompts."""
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
    """Dataset indices that `select` of the named strategy returned, checked, shape (P,).

    Raises:
        StrategyError: They are not `request.num_prompts` distinct indices below N.
    """
    prompt_P = _whole(strategy, "select()", selected, "dataset indices")
    outside = prompt_P[(prompt_P < 0) | (prompt_P >= num_prompts)]
    problem = None
    if len(prompt_P) != request.num_prompts:
        problem = f"{len(prompt_P)} prompts, asked for {request.num_prompts}"
    elif len(outside):
        problem = f"prompt {outside[0]}, the pool has 0..{num_prompts - 1}"
    elif len(distinct(prompt_P)) < len(prompt_P):
        problem = f"a prompt twice: {prompt_P.tolist()[:8]}"
    if problem is not None:
        raise StrategyError(
            f"strategy {strategy!r} selected {problem}; its select() must return num_prompts distinct "
            "dataset indices"
        )
    return prompt_P


def _whole(strategy: str, hook: str, values: Any, what: str) -> IntArray:
    """A 1-D integer array that a strategy returned; fractions are refused, not cut off."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise StrategyError(
            f"strategy {strategy!r}: {hook} returned an array of shape {array.shape} and dtype "
            f"{array.dtype}; it must return {what}, a 1-D array of integers (round them in the strategy)"
        )
    return frozen(array, np.int64)


def check_rollouts(strategy: str, allocated: Any, request: Request) -> IntArray:
    """Rollouts per prompt that `allocate` of the named strategy returned, checked, shape (P,).

    Raises:
        StrategyError: They are not whole numbers.
        BudgetError: The total or the number of prompts is wrong, or a prompt has no rollout.
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
    """Raise StrategyError unless what `extend` returned is valid, after `round` earlier extensions."""
    prompt_P = _whole(strategy, "extend()", more.prompt_P, "dataset indices in More.prompt_P")
    rollouts_P = _whole(strategy, "extend()", more.rollouts_P, "rollouts in More.rollouts_P")
    if round >= _MOST_ROUNDS:
        raise StrategyError(
            f"{strategy} asked for {round + 1} extensions of one plan; at most {_MOST_ROUNDS} are "
            "allowed: bound the rounds in its extend()"
        )
    if not len(prompt_P) or len(distinct(prompt_P)) < len(prompt_P):
        raise StrategyError(f"{strategy} extends by no prompt, or by one twice: {prompt_P.tolist()[:8]}")
    if int(prompt_P.min()) < 0 or int(prompt_P.max()) >= num_prompts:
        raise StrategyError(
            f"{strategy} extends by prompts {prompt_P.min()}..{prompt_P.max()}; the pool has "
            f"{num_prompts}"
        )
    if rollouts_P.shape != prompt_P.shape or int(rollouts_P.min()) < 1:
        raise StrategyError(f"{strategy} extends by {rollouts_P.tolist()[:8]} rollouts; at least 1 each")


def check_weights(strategy: str, weights: Weights, outcome: Outcome, plan: Plan) -> None:
    """Raise StrategyError unless weights are finite, one per row, and keep at most the plan's rows."""
    weight_R, keep_R, shape = weights.weight_R, weights.keep_R, outcome.prompt_R.shape
    if weight_R.shape != shape or keep_R.shape != shape or not bool(np.isfinite(weight_R).all()):
        raise StrategyError(
            f"{strategy} gave ticket {plan.ticket} weights of shape {weight_R.shape}, or some that are "
            f"not finite; its weigh() must give one finite weight to each of {shape[0]} rows"
        )
    rows = int(np.count_nonzero(keep_R))
    if rows > plan.num_rollouts:
        raise StrategyError(
            f"{strategy} keeps {rows} rows of ticket {plan.ticket}, the loss takes {plan.num_rollouts}; "
            "its weigh() must drop the others"
        )
