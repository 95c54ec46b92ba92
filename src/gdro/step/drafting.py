"""Prompts and their rollouts, as a strategy decides on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.difficulty.tracker import DifficultyTracker
from gdro.numerics.arrays import IntArray, frozen
from gdro.numerics.budget import even_split
from gdro.step import checks
from gdro.step.in_flight import Pending
from gdro.strategy import Draft, Strategy
from gdro.types import Plan, Request

_PLAIN = Strategy[Any]()


def drafted(
    strategy: Strategy[Any],
    state: Any,
    knowledge: tuple[DifficultyTracker, Belief],
    request: Request,
    ticket: int,
    rng: np.random.Generator,
    apply: bool,
) -> Pending:
    """A plan that spends a request exactly; in shadow mode (not `apply`) a uniform one.

    Raises:
        RequestError: More prompts than there are, or an index out of range.
        StrategyError: The selection or allocation of the strategy is invalid.
        BudgetError: The strategy cannot spend exactly that many rollouts.
    """
    tracker, belief = knowledge
    checks.check_pool(request, belief.num_prompts)
    prompt_P = _selected(strategy if apply else _PLAIN, state, belief, request, rng)
    selector = strategy if apply and request.offered_P is None else _PLAIN
    mass_B, even_B = (s.mass(state, belief) for s in (selector, _PLAIN))
    bin_P = tracker.bins(prompt_P, predicted=np.array_equal(mass_B, even_B))
    draft = Draft(prompt_P, bin_P, request.num_rollouts)
    allocated_P = strategy.allocate(state, belief, draft, rng)
    rollouts_P = checks.check_rollouts(strategy.name, allocated_P, request)
    shadow_P = None if apply else rollouts_P
    if not apply:
        rollouts_P = even_split(request.num_prompts, request.num_rollouts)
    importance_P = selector.importance(state, belief, bin_P)
    rollouts_P, importance_P = frozen(rollouts_P, np.int64), frozen(importance_P, np.float64)
    plan = Plan(ticket, prompt_P, rollouts_P, bin_P, importance_P, mass_B=frozen(mass_B, np.float64))
    return Pending(plan, shadow_P)


def _selected(
    selector: Strategy[Any], state: Any, belief: Belief, request: Request, rng: np.random.Generator
) -> IntArray:
    if request.offered_P is not None:
        return request.offered_P
    selected = selector.select(state, belief, request, rng)
    return checks.check_selected(selector.name, selected, request, belief.num_prompts)
