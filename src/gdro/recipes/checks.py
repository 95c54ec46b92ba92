"""What can be found wrong with a recipe before anything is loaded, sampled or trained."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from math import inf
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from gdro.common.files import OF_RUNS, check_name
from gdro.common.hints import did_you_mean
from gdro.common.installed import is_absent
from gdro.common.redact import HIDDEN, is_secret
from gdro.difficulty.tracker import difficulty_of
from gdro.errors import GdroError
from gdro.recipes.schema import Recipe, RecipeError
from gdro.step.bounds import check_bounds
from gdro.step.checks import check_seed
from gdro.strategies.registry import MEAN_ROLLOUTS, named

# GRPOConfig takes any text here, and the trainer refuses it in its first step.
_CHOICES: dict[str, tuple[Any, ...]] = {
    "loss_type": ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "sapo", "cispo", "vespo"),
    "scale_rewards": ("group", "batch", "none", True, False),
    "importance_sampling_level": ("token", "sequence"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "vllm_mode": ("server", "colocate"),
}
# What a value may be where an option is declared so: True is a number in Python, and never meant as one.
_TAKEN = {int: (int,), float: (int, float), bool: (bool,), str: (str,), NoneType: (NoneType,)}


def num_processes() -> int:
    """Processes that torchrun or accelerate started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_evaluation(recipe: Recipe) -> None:
    """Raise a RecipeError if the held-out evaluation cannot be made as it is asked for."""
    options = recipe.evaluation
    for name, low in (("samples", 0), ("k", 1), ("base_samples", 1), ("batch_size", 1)):
        if getattr(options, name) < low:
            raise RecipeError(
                f"evaluation.{name} is {getattr(options, name)}; it must be at least {low}"
            )
    if options.samples and min(options.samples, options.base_samples) < options.k:
        raise RecipeError(
            f"evaluation.samples is {options.samples}, base_samples {options.base_samples}; both must "
            f"be at least k={options.k}, or samples 0 for no evaluation"
        )
    if any(k < 1 for k in options.also):
        raise RecipeError(f"evaluation.also holds {min(options.also)}; every k of pass@k is 1 or more")
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
        if not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*", name):
            raise RecipeError(
                f"arm {name!r} is the name of a folder; use letters, digits, '-', '_' and '.'"
            )
        check_name(name, "the name of an arm", RecipeError, OF_RUNS)
        try:
            strategy = named(arm.strategy, arm.options, mean if type(mean) is int else MEAN_ROLLOUTS)
            if type(mean) is int:  # what else it is, is told by `check_trl`
                check_bounds(strategy, mean, "trl.num_generations", warn=False)
        except (GdroError, TypeError) as problem:
            raise RecipeError(f"arms.{name}: {problem}") from problem
    try:
        difficulty_of(recipe.difficulty)
    except GdroError as problem:
        raise RecipeError(str(problem)) from problem


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
        if name in _CHOICES and value not in _CHOICES[name]:
            allowed = ", ".join(map(str, _CHOICES[name]))
            raise RecipeError(f"trl.{name} is {value!r}; allowed: {allowed}")
        if name not in _CHOICES:
            check_kind(f"trl.{name}", value, hints[name])


def check_kind(where: str, value: Any, hint: Any) -> None:
    """Raise a RecipeError unless a value is of the type that is declared for it.

    Args:
        where: What the caller calls it.
        value: The value.
        hint: The type; enumerations, lists and mappings are not checked, what takes them reads them.
    """
    kinds = _kinds(hint)
    if not all(kind in _TAKEN for kind in kinds):
        return
    if type(value) not in [taken for kind in kinds for taken in _TAKEN[kind]]:
        allowed = " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)
        said = HIDDEN if is_secret(where) else repr(value)
        raise RecipeError(f"{where} is {said}; it must be {allowed}")


def check_bounds_of(options: Mapping[str, Any]) -> None:
    """Raise a RecipeError for a number that the trainer would find wrong after the base evaluation."""
    least = {
        "per_device_train_batch_size": 1,
        "num_generations": 2,
        "max_completion_length": 1,
        "num_iterations": 1,
        "learning_rate": 0,
        "gradient_accumulation_steps": 1,
        "top_k": 0,
        "epsilon": 0,
        "epsilon_high": 0,
        "delta": 0,
        "beta": 0,
        "max_grad_norm": 0,
        "weight_decay": 0,
    }
    for name, low in least.items():
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
            f"trl.{name} is {getattr(config, name)}: no step would be trained; give trl.max_steps=100, "
            "or trl.num_train_epochs=1 without max_steps"
        )


def check_surroundings(config: Any) -> None:
    """Raise a RecipeError if what a GRPOConfig asks for is not there: vLLM, or who is reported to."""
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    if config.use_vllm and is_absent("vllm"):
        raise RecipeError("trl.use_vllm is true, and vLLM is not installed; pip install 'trl[vllm]'")
    try:
        get_reporting_integration_callbacks(config.report_to)
    except ValueError as problem:
        raise RecipeError(f"trl.report_to: {problem}") from problem


def check_task(recipe: Recipe, task: Any, config: Any) -> None:
    """Raise a RecipeError if a task's data cannot make a step, or its tokenizer not its prompts.

    Args:
        recipe: The job.
        task: Its `TaskData`.
        config: Its GRPOConfig.
    """
    rows, generations = config.generation_batch_size, config.num_generations
    prompts, there = rows // generations, len(task.train)
    if there < prompts:
        raise RecipeError(
            f"the task has {there} training prompts, a step needs {prompts} (generation_batch_size "
            f"{rows} / num_generations {generations}): no step would be trained; give more data, or "
            "lower trl.generation_batch_size or trl.per_device_train_batch_size"
        )
    _check_columns(recipe, task)
    if recipe.evaluation.samples and not len(task.heldout):
        raise RecipeError(
            "the task has no held-out prompt; give it some, or evaluation.samples=0 for no evaluation"
        )
    if not isinstance(task.train[0]["prompt"], str) and not task.tokenizer.chat_template:
        raise RecipeError(
            "the task's prompts are conversations, and the tokenizer of its model has no chat template; "
            "take prompts of plain text, as for a base model (gdro.tasks.math: task_options.style=plain)"
        )


def _check_columns(recipe: Recipe, task: Any) -> None:
    """Raise a RecipeError for a column that an arm needs and the task's rows lack."""
    there = list(task.train.column_names)
    adapter = recipe.adapter
    asked = [("adapter.id_column", adapter.id_column), ("adapter.prior_column", adapter.prior_column)]
    asked.append(("difficulty.column", recipe.difficulty.get("column")))
    mean = recipe.trl.get("num_generations")
    for name, arm in recipe.arms.items():
        strategy = named(arm.strategy, arm.options, mean if type(mean) is int else MEAN_ROLLOUTS)
        asked += [(f"arms.{name}", column) for column in strategy.columns]
    for where, column in asked:
        if column and column not in there:
            raise RecipeError(
                f"{where} needs the column {column!r}{did_you_mean(column, there)}; the task's rows "
                f"have {', '.join(there)}"
            )


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
