"""Checks of a recipe before anything is loaded, sampled or trained."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from math import inf
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from gdro.common.files import OF_RUNS, check_name
from gdro.common.hints import did_you_mean
from gdro.common.installed import is_absent
from gdro.common.secret_forms import HIDDEN
from gdro.common.secret_names import is_secret
from gdro.difficulty.tracker import difficulty_of
from gdro.errors import GdroError
from gdro.recipes.declared import declared_fields
from gdro.recipes.processes import num_processes
from gdro.recipes.schema import Arm, Recipe, RecipeError
from gdro.step.bounds import check_bounds
from gdro.step.checks import check_seed
from gdro.strategies.registry import MEAN_ROLLOUTS, named
from gdro.strategy import Strategy

# GRPOConfig accepts any text here, and the trainer raises in its first step.
_CHOICES: dict[str, tuple[Any, ...]] = {
    "loss_type": ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "sapo", "cispo", "vespo"),
    "scale_rewards": ("group", "batch", "none", True, False),
    "importance_sampling_level": ("token", "sequence"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "vllm_mode": ("server", "colocate"),
}
_POSITIVE = (
    "per_device_train_batch_size",
    "max_completion_length",
    "num_iterations",
    "gradient_accumulation_steps",
)
_CLIPPING = ("epsilon", "epsilon_high", "delta", "max_grad_norm")
_NOT_NEGATIVE = (*_CLIPPING, "learning_rate", "top_k", "beta", "weight_decay")
_LEAST = {**dict.fromkeys(_NOT_NEGATIVE, 0), **dict.fromkeys(_POSITIVE, 1), "num_generations": 2}
# Types of values by the declared type; True is an int in Python, but never meant as one.
_TAKEN = {int: (int,), float: (int, float), bool: (bool,), str: (str,), NoneType: (NoneType,)}


def check_evaluation(recipe: Recipe) -> None:
    """Raise a RecipeError if the options of the held-out evaluation are wrong."""
    options = recipe.evaluation
    for name, low in (("samples", 0), ("k", 1), ("base_samples", 1), ("batch_size", 1)):
        value = getattr(options, name)
        if value < low:
            raise RecipeError(f"evaluation.{name} is {value}; it must be at least {low}")
    if options.samples and min(options.samples, options.base_samples) < options.k:
        raise RecipeError(
            f"evaluation.samples is {options.samples}, base_samples {options.base_samples}; both must "
            f"be at least k={options.k}, or samples 0 for no evaluation"
        )
    if any(k < 1 for k in options.also):
        raise RecipeError(
            f"evaluation.also holds {min(options.also)}; every k of pass@k must be at least 1"
        )
    if options.samples and max([0, *options.also]) > options.samples:
        raise RecipeError(
            f"evaluation.also holds {max(options.also)}; pass@k needs as many samples, and there are "
            f"{options.samples}"
        )
    if options.every < 0 or (options.every and not options.samples):
        raise RecipeError(
            f"evaluation.every is {options.every} with samples {options.samples}; it must be 0, or at "
            "least 1 with samples"
        )
    if options.samples and num_processes() > 1 and (by := _sharding(recipe)):
        raise RecipeError(
            f"evaluation.samples is {options.samples} with {by}: the model is sharded, and one process "
            "evaluates; pass evaluation.samples=0, and evaluate the saved model with gdro eval"
        )


def _sharding(recipe: Recipe) -> str:
    """What divides the model among the processes; empty if each has all of it."""
    for name in ("fsdp", "deepspeed"):
        if recipe.trl.get(name):
            return f"trl.{name}"
        variable = f"ACCELERATE_USE_{name.upper()}"
        if os.environ.get(variable, "").lower() in ("true", "1"):
            return f"{variable}={os.environ[variable]}"
    return ""


def check_arms(recipe: Recipe) -> None:
    """Raise a RecipeError if there is no arm, or a strategy or the difficulty has wrong options."""
    if not recipe.arms:
        raise RecipeError(
            f"recipe {recipe.name!r} has no arms; pass one, e.g. arms.mine.strategy=uniform"
        )
    mean = recipe.trl.get("num_generations")
    for name, arm in recipe.arms.items():
        if not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*", name):
            raise RecipeError(
                f"arm {name!r} cannot be the name of a folder; use letters, digits, '-', '_' and '.'"
            )
        check_name(name, "the name of an arm", RecipeError, OF_RUNS)
        try:
            strategy = strategy_of(recipe, arm)
            if type(mean) is int:  # other types are reported by `check_trl`
                check_bounds(strategy, mean, "trl.num_generations", warn=False)
        except (GdroError, TypeError) as problem:
            raise RecipeError(f"arms.{name}: {problem}") from problem
    try:
        difficulty_of(recipe.difficulty)
    except GdroError as problem:
        raise RecipeError(str(problem)) from problem


def strategy_of(recipe: Recipe, arm: Arm) -> Strategy[Any]:
    """The strategy of an arm, for the recipe's mean number of rollouts."""
    mean = recipe.trl.get("num_generations")
    return named(arm.strategy, arm.options, mean if type(mean) is int else MEAN_ROLLOUTS)


def check_trl_names(names: Iterable[str]) -> None:
    """Raise a RecipeError if GRPOConfig lacks an option; it is read, not imported."""
    known = declared_fields("trl.trainer.grpo_config", "GRPOConfig")
    # What cannot be read is left to `check_trl`.
    for name in names if known else ():
        _check_known(name, known, "GRPOConfig")


def _check_known(name: str, known: Iterable[str], config: str) -> None:
    known = sorted(known)
    if name not in known:
        guess = did_you_mean(name, known, "trl.") or "; see its documentation"
        raise RecipeError(f"trl.{name} is not an option of trl.{config}{guess}")


def check_trl(options: Mapping[str, Any], config: type[Any]) -> None:
    """Raise a RecipeError if a config lacks an option, or a value is not allowed or of another type."""
    known = [field.name for field in dataclasses.fields(config)]
    hints = get_type_hints(config)
    for name, value in options.items():
        _check_known(name, known, config.__name__)
        if name in _CHOICES and value not in _CHOICES[name]:
            allowed = ", ".join(map(str, _CHOICES[name]))
            raise RecipeError(f"trl.{name} is {value!r}; allowed: {allowed}")
        if name not in _CHOICES:
            check_kind(f"trl.{name}", value, hints[name])


def check_kind(where: str, value: Any, hint: Any) -> None:
    """Raise a RecipeError unless a value is of its declared type.

    Enumerations, lists and mappings are not checked here, but by the code that uses them.
    """
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if not all(kind in _TAKEN for kind in kinds):
        return
    if type(value) not in [taken for kind in kinds for taken in _TAKEN[kind]]:
        allowed = " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)
        got = HIDDEN if is_secret(where) else repr(value)
        raise RecipeError(f"{where} is {got}; it must be {allowed}")


def check_bounds_of(options: Mapping[str, Any]) -> None:
    """Raise a RecipeError for a number that the trainer would refuse after the base evaluation."""
    for name, low in _LEAST.items():
        value = options.get(name)
        if isinstance(value, int | float) and not low <= value < inf:
            finite = "" if value < low else ", and finite"
            raise RecipeError(f"trl.{name} is {value}; it must be at least {low}{finite}")
    for name, high in (("temperature", inf), ("top_p", 1.0)):
        value = options.get(name)
        if isinstance(value, int | float) and not (0 < value <= high and value < inf):
            most = " and at most 1" if high == 1.0 else ", and finite"
            raise RecipeError(f"trl.{name} is {value}; it must be above 0{most}")


def check_steps(config: Any) -> None:
    """Raise a RecipeError if a GRPOConfig asks for no step, or has a seed that cannot be set."""
    check_seed(config.seed, "trl.seed", RecipeError)
    if config.max_steps == 0 or (config.max_steps < 0 and config.num_train_epochs <= 0):
        name = "max_steps" if config.max_steps == 0 else "num_train_epochs"
        raise RecipeError(
            f"trl.{name} is {getattr(config, name)}: no step would be trained; pass trl.max_steps=100, "
            "or trl.num_train_epochs=1 without max_steps"
        )


def check_surroundings(config: Any) -> None:
    """Raise a RecipeError if a GRPOConfig asks for vLLM or a tracker that is not installed."""
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    if config.use_vllm and is_absent("vllm"):
        raise RecipeError("trl.use_vllm is true, and vLLM is not installed; pip install 'trl[vllm]'")
    try:
        get_reporting_integration_callbacks(config.report_to)
    except ValueError as problem:
        raise RecipeError(f"trl.report_to: {problem}") from problem


def check_task(recipe: Recipe, task: Any, config: Any) -> None:
    """Raise a RecipeError if a task's data are too few or lack columns, or its tokenizer a template."""
    rows, generations = config.generation_batch_size, config.num_generations
    prompts, available = rows // generations, len(task.train)
    if available < prompts:
        raise RecipeError(
            f"the task has {available} training prompts, a step needs {prompts} (generation_batch_size "
            f"{rows} / num_generations {generations}): no step would be trained; give more data, or "
            "lower trl.generation_batch_size or trl.per_device_train_batch_size"
        )
    _check_columns(recipe, task)
    if recipe.evaluation.samples and not len(task.heldout):
        raise RecipeError(
            "the task has no held-out prompts; add some, or pass evaluation.samples=0 for no evaluation"
        )
    if not isinstance(task.train[0]["prompt"], str) and not task.tokenizer.chat_template:
        raise RecipeError(
            "the task's prompts are conversations, and the tokenizer of its model has no chat template; "
            "use prompts of plain text, as for a base model (gdro.tasks.math: task_options.style=plain)"
        )


def _check_columns(recipe: Recipe, task: Any) -> None:
    """Raise a RecipeError if the task's rows lack a column that the adapter or an arm reads."""
    columns = list(task.train.column_names)
    needed = [
        (f"adapter.{name}", getattr(recipe.adapter, name)) for name in ("id_column", "prior_column")
    ]
    needed += [("difficulty", column) for column in difficulty_of(recipe.difficulty).columns]
    for name, arm in recipe.arms.items():
        needed += [(f"arms.{name}", column) for column in strategy_of(recipe, arm).columns]
    for where, column in needed:
        if column and column not in columns:
            raise RecipeError(
                f"{where} needs the column {column!r}{did_you_mean(column, columns)}; the task's rows "
                f"have {', '.join(columns)}"
            )
