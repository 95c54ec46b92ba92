"""What can be found wrong with a recipe before anything is loaded, sampled or trained."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from gdro.difficulty import Difficulty
from gdro.errors import GdroError
from gdro.hints import did_you_mean
from gdro.integrations.bounds import check_bounds
from gdro.recipes import Recipe, RecipeError
from gdro.registry import MEAN_ROLLOUTS, named

# What a value may be where an option is declared so: True is a number in Python, and never meant as one.
_TAKEN = {int: (int,), float: (int, float), bool: (bool,), str: (str,), NoneType: (NoneType,)}


def num_processes() -> int:
    """Processes that torchrun or accelerate started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_evaluation(recipe: Recipe) -> None:
    """Raise a RecipeError if the held-out evaluation cannot be made as it is asked for."""
    options = recipe.evaluation
    if options.samples and min(options.samples, options.base_samples) < options.k:
        raise RecipeError(
            f"evaluation.samples is {options.samples}, base_samples {options.base_samples}; both must "
            f"be at least k={options.k}, or samples 0 for no evaluation"
        )
    if options.samples and num_processes() > 1:
        raise RecipeError(
            "a recipe is evaluated in one process; with several set evaluation.samples=0, and evaluate "
            "the saved model with gdro eval"
        )


def check_arms(recipe: Recipe) -> None:
    """Raise a RecipeError if there is no arm, or one of them or the difficulty cannot be made."""
    if not recipe.arms:
        raise RecipeError(
            f"recipe {recipe.name!r} has no arms; give one, e.g. arms.mine.strategy=uniform"
        )
    mean = recipe.trl.get("num_generations")
    for name, arm in recipe.arms.items():
        try:
            strategy = named(arm.strategy, arm.options, mean if type(mean) is int else MEAN_ROLLOUTS)
            if type(mean) is int:  # what else it is, is told by `check_trl`
                check_bounds(strategy, mean, "trl.num_generations", warn=False)
        except (GdroError, TypeError) as problem:
            raise RecipeError(f"arms.{name}: {problem}") from problem
    try:
        Difficulty(**recipe.difficulty)
    except (GdroError, TypeError) as problem:
        known = ", ".join(field.name for field in dataclasses.fields(Difficulty))
        raise RecipeError(f"difficulty: {problem}; its options: {known}") from problem


def check_trl(options: Mapping[str, Any], config: type[Any]) -> None:
    """Raise a RecipeError that names an option which the trainer's config lacks, or of another type.

    Args:
        options: By name.
        config: The dataclass that they are for.
    """
    known = [field.name for field in dataclasses.fields(config)]
    hints = get_type_hints(config)
    for name, value in options.items():
        if name not in known:
            guess = did_you_mean(name, known, "trl.") or "; see its documentation"
            raise RecipeError(f"trl.{name} is no option of trl.{config.__name__}{guess}")
        kinds = _kinds(hints[name])
        if not all(kind in _TAKEN for kind in kinds):
            continue  # enumerations, lists and mappings, which the config reads itself
        if type(value) not in [taken for kind in kinds for taken in _TAKEN[kind]]:
            allowed = " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)
            raise RecipeError(f"trl.{name} is {value!r}; it must be {allowed}")


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
