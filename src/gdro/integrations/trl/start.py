"""The line that a trainer prints at its start: strategy, prompts, and which rollouts count as right."""

from __future__ import annotations

import sys
from typing import Any

from gdro.controller import Controller
from gdro.strategy import Strategy

SAY_OTHERWISE = "say otherwise with correct="


def start_line(
    controller: Controller, correct: str, prompts_a_step: int, visits: float, condition: str = ""
) -> str:
    """What a trainer is about to do, in one line.

    `correct` says which rollouts are right, `visits` how often the run visits a prompt, and `condition`
    when the strategy may be used, if not always.

    >>> from gdro import Problem, make_strategy
    >>> controller = Controller(make_strategy("uniform"), Problem([str(i) for i in range(7473)]))
    >>> line = start_line(controller, "reward 'math' above 0.5", 16, 2.14)
    >>> line.split("; ")[:2]
    ['gdro: strategy uniform', '7,473 prompts, 16 a step, about 2.1 visits each']
    >>> line.split("; ")[2]
    "right is reward 'math' above 0.5 (say otherwise with correct=)"
    """
    when, shadow = f" ({condition})" * bool(condition), "" if controller.apply else ", in shadow mode"
    number = f"{visits:.2g}"
    return (
        f"gdro: strategy {strategy_text(controller.strategy)}{when}{shadow}; "
        f"{controller.problem.num_prompts:,} prompts, {prompts_a_step:,} a step, "
        f"about {number} visit{'s' * (number != '1')} each; right is {correct} ({SAY_OTHERWISE})"
    )


def strategy_text(strategy: Strategy[Any]) -> str:
    """A strategy's name; of a composition, the names of its parts."""
    if strategy.name != "joint":
        return strategy.name
    parts = (part for part in vars(strategy).values() if isinstance(part, Strategy))
    names = [part.name for part in parts if part.name != "uniform"]
    return " + ".join(dict.fromkeys(names)) or "uniform"


def say(line: str, trainer: Any) -> None:
    """Print a line once, on the main process, to the error stream as progress bars do."""
    if trainer.accelerator.is_main_process:
        print(line, file=sys.stderr, flush=True)
