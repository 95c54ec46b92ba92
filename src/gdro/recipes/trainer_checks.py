"""What the trainer would refuse, but only after the base model was evaluated."""

from __future__ import annotations

from typing import Any

from gdro.errors import UnsupportedError
from gdro.integrations.trl.correct import check_correct, read_correct, read_process
from gdro.integrations.trl.memory import check_memory
from gdro.recipes.checks import strategy_of
from gdro.recipes.schema import Recipe, RecipeError


def check_trainer(recipe: Recipe, task: Any, config: Any) -> None:
    """Refuse names of unknown reward functions, and options that a memory cannot be combined with.

    Args:
        recipe: The recipe.
        task: Its task, with `reward_funcs`.
        config: Its GRPOConfig.

    Raises:
        RecipeError: `adapter.correct`, `adapter.process` or an option of an arm with a memory is wrong.
    """
    functions = task.reward_funcs
    names = [function.__name__ for function in functions]
    try:
        check_correct(recipe.adapter.correct)
        read_correct(recipe.adapter.correct, names, functions)
        read_process(recipe.adapter.process, names, functions)
    except UnsupportedError as problem:
        raise RecipeError(f"adapter.{problem}") from problem
    for name, arm in recipe.arms.items():
        if arm.apply and strategy_of(recipe, arm).remembers:
            try:
                check_memory(config)
            except UnsupportedError as problem:
                raise RecipeError(f"arms.{name}: {problem}") from problem
