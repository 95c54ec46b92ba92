"""`gdro train --dry-run`: a whole recipe on a CPU, with a tiny model and a few rows."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gdro.dry_run.estimate import estimate, sizes_of
from gdro.recipes.run import check_task_options, run, task_module, trl_config
from gdro.recipes.schema import Evaluation, Recipe
from gdro.tasks.base import DryTask, TaskData
from gdro.tasks.tiny_model import write_tiny

ROWS, PROMPTS, HELD, STEPS = 32, 8, 8, 2
# A random model ends answers at random; this makes an end likely from the eighth token on.
_ENDS_SOON = (8, 2.0)
_OFF = ("bf16", "fp16", "use_vllm", "use_liger_kernel", "torch_compile")
_HARDWARE = dict.fromkeys(_OFF, False) | {"use_cpu": True, "deepspeed": None, "fsdp": None, "tf32": None}
_QUIET = {"logging_steps": 1, "report_to": "none", "push_to_hub": False, "disable_tqdm": True}


@dataclass(frozen=True)
class DryRun:
    """Results of a dry run.

    Attributes:
        notes: Sentences on what was replaced.
        summary: Summary of the tiny run, see `gdro.recipes.run.run`.
        estimate: Cost of the real run, as lines of a table.
    """

    notes: list[str]
    summary: dict[str, Any]
    estimate: list[tuple[str, str]]


def dry_run(recipe: Recipe, folder: Path, steps: int = STEPS) -> DryRun:
    """Train and evaluate every arm of a recipe, made tiny.

    All values of the recipe stay, except the model's size, the number of rows, the number of prompts a
    step, and options that need an accelerator. `steps` counts batches of rollouts.

    Raises:
        GdroError: The recipe is wrong, as in the real run.
    """
    args = _args(recipe)
    dry = _dry_task(recipe, folder)
    small = tiny_recipe(recipe, args, steps)
    summary = run(small, folder, load=lambda given: _dry_task(given, folder).task)
    costs = estimate(recipe, args, sizes_of(dry.config))
    return DryRun(_notes(recipe, small, dry.task, args), summary, costs)


def _args(recipe: Recipe) -> Any:
    """The recipe's GRPOConfig without options that need an accelerator."""
    return trl_config(dataclasses.replace(recipe, trl={**recipe.trl, **_HARDWARE}), Path("unused"))


def tiny_recipe(recipe: Recipe, args: Any, steps: int) -> Recipe:
    """The recipe with few prompts a step, few steps, and options for a CPU.

    A batch of rollouts has as many optimiser steps as in the real run, but at most one a prompt.
    """
    prompts = min(PROMPTS, args.generation_batch_size // args.num_generations)
    rows = prompts * args.num_generations
    updates = min(args.steps_per_generation // args.gradient_accumulation_steps, prompts)
    while rows % updates:
        updates -= 1
    most = min(args.per_device_train_batch_size, rows // updates)
    micro = next(size for size in range(most, 0, -1) if rows // updates % size == 0)
    total = steps * updates * args.num_iterations
    sizes = {
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": rows // updates // micro,
        "generation_batch_size": None,
        "steps_per_generation": rows // micro,
        "max_steps": total,
        "save_steps": total,
    }
    own = recipe.evaluation
    few = Evaluation(own.k, own.k, own.k, min(own.batch_size, 64)) if own.samples else own
    return dataclasses.replace(
        recipe, trl={**recipe.trl, **_HARDWARE, **_QUIET, **sizes}, evaluation=few
    )


def _dry_task(recipe: Recipe, folder: Path) -> DryTask:
    module = task_module(recipe)
    check_task_options(recipe, module.load)
    if hasattr(module, "dry_load"):
        dry = module.dry_load(recipe.seed, folder, recipe.architecture, **recipe.task_options)
    else:
        dry = _with_tiny_model(module.load(recipe.seed, **recipe.task_options), folder)
    task = dry.task
    task.model.generation_config.exponential_decay_length_penalty = _ENDS_SOON
    few = dataclasses.replace(
        task,
        train=task.train.select(range(min(ROWS, len(task.train)))),
        heldout=task.heldout.select(range(min(HELD, len(task.heldout)))),
    )
    return DryTask(few, dry.config)


def _with_tiny_model(task: TaskData, folder: Path) -> DryTask:
    from transformers import AutoModelForCausalLM

    write_tiny(folder / "model", copy.deepcopy(task.model.config), task.tokenizer)
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    return DryTask(dataclasses.replace(task, model=model), task.model.config)


def _notes(recipe: Recipe, small: Recipe, task: TaskData, args: Any) -> list[str]:
    model, network = recipe.task_options.get("model", recipe.task), task.model
    prompts = args.generation_batch_size // args.num_generations
    off = sorted(name for name, value in _HARDWARE.items() if recipe.trl.get(name, value) != value)
    return [
        f"model: {model} became a random {type(network).__name__} of {network.config.num_hidden_layers} "
        "layers, whose answers end after some 20 tokens",
        f"data: {len(task.train)} rows to train on, {len(task.heldout)} held out; made-up sums "
        "replace datasets of the hub",
        f"sizes: {min(PROMPTS, prompts)} prompts a step for {prompts:,}, {small.trl['max_steps']} "
        f"optimiser steps for {args.max_steps:,}",
        "hardware: the CPU in float32" + (f"; off: {', '.join(off)}" if off else ""),
    ]
