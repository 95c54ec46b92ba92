"""Warnings for runs in which a strategy can do nothing: few visits of a prompt, or one prompt a step."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from gdro.controller import Controller
from gdro.strategy import Strategy

FEW = 2.0
"""Below this mean number of visits of a prompt there is a warning."""


def expected_visits(args: Any, num_rows: int, num_prompts: int) -> float:
    """Mean visits of a prompt over the whole run; strategies that select concentrate them."""
    step = args.generation_batch_size // args.num_generations
    if args.max_steps > 0:
        batches = args.max_steps * args.gradient_accumulation_steps
        plans = -(-batches // (args.steps_per_generation * args.num_iterations))
        return plans * step / num_prompts
    return args.num_train_epochs * (num_rows // step) * step / num_prompts


def warn_of_idle(controller: Controller, args: Any, visits: float) -> None:
    """Warn once if a strategy has nothing to act on: one prompt a step, or few visits of a prompt."""
    alone = args.generation_batch_size <= args.num_generations
    sizes = f"generation_batch_size {args.generation_batch_size}, num_generations {args.num_generations}"
    fix = (
        "Raise per_device_train_batch_size or gradient_accumulation_steps, so that a step takes several "
        "prompts, or lower num_generations"
    )
    if not (alone and warn_of_one_prompt(controller, f"a step takes one prompt ({sizes})", fix)):
        warn_of_few_visits(controller, visits)


def warn_of_few_visits(controller: Controller, visits: float) -> None:
    """Warn if the strategy acts from a prompt's second visit on, and most prompts have one visit."""
    idle = list(_idle(controller))
    if visits >= FEW or controller.strategy.selects or not idle:
        return
    names = " + ".join(dict.fromkeys(part.name for part in idle))
    share = max(0.0, 1.0 - 1.0 / visits) if visits else 0.0
    alone = all(part in idle for part in _parts(controller.strategy) if part.roles)
    does = f"acts on some {share:.0%} of them" if share >= 0.01 else "does nothing"
    if alone and share < 0.01:
        does += ", and this run is GRPO"
    fix = "take fewer prompts or more epochs"
    if any(part.waits_for != "visits" for part in idle):
        fix = (
            "give known pass rates (prior_column), or bins of a column, which hold from the first step "
            "(difficulty=Difficulty(bins='column', column=...)), or predict pass rates from columns "
            f"(difficulty=Difficulty(predictor=['prompt'])); or {fix}"
        )
    often = "once" if f"{visits:.2g}" == "1" else f"{visits:.2g} times"
    warnings.warn(
        f"a prompt is visited about {often} in this run, and {names} acts on a prompt from its second "
        f"visit on: it {does}. To change that, {fix}",
        stacklevel=4,
    )


def warn_of_one_prompt(controller: Controller, what: str, fix: str) -> bool:
    """Warn and return True if the strategy moves rollouts between prompts, where plans have one.

    Args:
        controller: The controller.
        what: What has one prompt, as a clause. GRPOConfig's defaults (8 rows, 8 generations, no
            accumulation) make such steps.
        fix: What to do, as a sentence.
    """
    strategy = controller.strategy
    idle = [part for part in _parts(strategy) if _moves_between(part)]
    if not idle:
        return False
    names = " + ".join(dict.fromkeys(part.name for part in idle))
    alone = not strategy.selects and all(part in idle for part in _parts(strategy) if part.roles)
    warnings.warn(
        f"{what}, and {names} moves rollouts or weight between the prompts of a step: it does nothing"
        f"{', and this run is GRPO' * alone}. {fix}",
        stacklevel=4,
    )
    return True


def _moves_between(part: Strategy[Any]) -> bool:
    """Whether a part takes what it gives a prompt from the other prompts of the step."""
    relative = getattr(part, "normalise", "mean_one").startswith("mean_one")
    return "allocate" in part.roles or bool(part.waits_for and relative and not part.selects)


def _idle(controller: Controller) -> Iterator[Strategy[Any]]:
    """Parts of the strategy that cannot act on a prompt before it was visited."""
    problem, by_column = controller.problem, controller.difficulty.bins == "column"
    known = by_column or bool(controller.difficulty.predictor)
    known = known or (problem.prior_N is not None and bool((problem.prior_N >= 0).any()))
    for part in _parts(controller.strategy):
        if part.waits_for == "visits" or (part.waits_for == "bin" and not known):
            yield part


def _parts(strategy: Strategy[Any]) -> Iterator[Strategy[Any]]:
    inner = [value for f in fields(strategy) if isinstance(value := getattr(strategy, f.name), Strategy)]
    if not inner:
        yield strategy
    for part in inner:
        yield from _parts(part)
