"""The one line that a trainer prints when it is made: what runs, over what, and what counts as right."""

from __future__ import annotations

import sys
from typing import Any

from gdro.strategy import Strategy

SAY_OTHERWISE = "say otherwise with correct="


def start_line(
    strategy: Strategy[Any],
    correct: str,
    num_prompts: int,
    prompts_a_step: int,
    visits: float | None = None,
    applied: bool = True,
    condition: str = "",
) -> str:
    """What a trainer is about to do, in one line.

    Args:
        strategy: The strategy.
        correct: What was taken for a right rollout, in words.
        num_prompts: N, prompts of the pool.
        prompts_a_step: P, prompts of a plan.
        visits: How often a prompt will be visited in the run, where that is known.
        applied: False in shadow mode.
        condition: When the strategy may be used, if not always.

    Returns:
        The line.

    >>> from gdro import make_strategy
    >>> line = start_line(make_strategy("uniform"), "reward 'math' above 0.5", 7473, 16, 2.14)
    >>> line.split("; ")[:2]
    ['gdro: strategy uniform', '7,473 prompts, 16 a step, about 2.1 visits each']
    >>> line.split("; ")[2]
    "right is reward 'math' above 0.5 (say otherwise with correct=)"
    """
    shadow = "" if applied else ", in shadow mode"
    parts = [
        f"strategy {strategy_text(strategy)}{f' ({condition})' if condition else ''}{shadow}",
        f"{num_prompts:,} prompts, {prompts_a_step:,} a step"
        + ("" if visits is None else f", about {visits:.2g} visit{'s' * (f'{visits:.2g}' != '1')} each"),
        f"right is {correct} ({SAY_OTHERWISE})",
    ]
    return f"gdro: {'; '.join(parts)}"


def strategy_text(strategy: Strategy[Any]) -> str:
    """A strategy's name; of a composition, the names of its parts."""
    if strategy.name != "joint":
        return strategy.name
    parts = (part for part in vars(strategy).values() if isinstance(part, Strategy))
    names = [part.name for part in parts if part.name != "uniform"]
    return " + ".join(dict.fromkeys(names)) or "uniform"


def say(line: str, trainer: Any) -> None:
    """Print a line once, on the main process; to the error stream, as progress bars do."""
    if trainer.accelerator.is_main_process:
        print(line, file=sys.stderr, flush=True)
