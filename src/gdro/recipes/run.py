"""Run a recipe: train each arm from the same start, evaluate it, and summarise."""

from __future__ import annotations

import inspect
import resource
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from gdro.common.files import check_folder, read_json, write_json
from gdro.difficulty.tracker import difficulty_of
from gdro.errors import CheckpointError, GdroError
from gdro.integrations.trl.checkpoints import last_checkpoint, passed_over
from gdro.integrations.trl.start import say
from gdro.integrations.trl.static_decode import StaticDecoder
from gdro.integrations.trl.trainer import GDROTrainer
from gdro.recipes.checks import (
    check_arms,
    check_evaluation,
    check_kind,
    check_surroundings,
    check_task,
)
from gdro.recipes.evaluations import Heldout, Trained, begun, curves_of
from gdro.recipes.heldout import by_slice, by_source, draw, metrics
from gdro.recipes.origin import base_of, check_origin
from gdro.recipes.processes import computed_once, is_first
from gdro.recipes.run_folder import BASE, EVAL, KEPT, ORIGIN, SUMMARY, differing, keep, other_paths
from gdro.recipes.schema import Arm, Recipe, RecipeError
from gdro.recipes.trainer_checks import check_trainer
from gdro.recipes.trl_options import trl_config

_OF = "of"  # key in `base.json`: digests of what was evaluated


def load_task(recipe: Recipe) -> Any:
    """Data, reward functions and a fresh model of a recipe's task.

    Raises:
        RecipeError: No such module, it has no `load`, or not with these options.
    """
    module = task_module(recipe)
    check_task_options(recipe, module.load)
    return module.load(seed=recipe.seed, **recipe.task_options)


def run(
    recipe: Recipe,
    output: Path,
    *,
    resume: bool = False,
    load: Callable[[Recipe], Any] = load_task,
    until: float | None = None,
) -> dict[str, Any]:
    """Train and evaluate every arm in a folder of its own.

    Args:
        recipe: The recipe.
        output: Folder of the run.
        resume: Whether to keep finished arms, and continue an unfinished one from its last checkpoint.
        load: Loads the task of a recipe, anew for every arm.
        until: Time of `time.monotonic` at which to stop; the arm in training is then not finished, but
            its evaluations so far stay.

    Returns:
        The summary of the finished arms, also written to `summary.json` if there is an evaluation.

    Raises:
        RecipeError: The task, an arm or an option is unknown or wrong, or the folder is of another
            recipe, or its arms started from other weights or rows.
        CheckpointError: The folder holds finished arms and `resume` is off.
    """
    # Errors come now, not after the base evaluation or the first arms.
    check_evaluation(recipe)
    check_arms(recipe)
    check_folder(output, "--output")
    check_surroundings(trl_config(recipe, output))
    load = _begin(recipe, output, resume, load)
    base_N = evaluate_base(recipe, output, load) if recipe.evaluation.samples else None
    for name, arm in recipe.arms.items():
        if (output / name / EVAL).exists():
            continue
        if until is not None and time.monotonic() >= until:
            break
        _train_arm(recipe, arm, output / name, base_N, resume, load, until)
    return summarise(recipe, output, base_N)


def _checked(load: Callable[[Recipe], Any], output: Path, fresh: bool, recipe: Recipe) -> Any:
    """A recipe's task, with what at least one training step of every arm needs."""
    task, config = load(recipe), trl_config(recipe, Path("unused"))
    check_task(recipe, task, config)
    check_trainer(recipe, task, config)
    check_origin(recipe, output, task, fresh)
    return task


@dataclass(frozen=True)
class _Contents:
    """What a run's folder holds."""

    begun: list[str]
    changed: list[str] | None  # how its recipe differs, and `paths`: only in paths (see `run_folder`)
    paths: list[str]
    base: dict[str, Any] | None  # what the base's evaluation was made of, if no arm has begun since


def _begin(
    recipe: Recipe, output: Path, resume: bool, load: Callable[[Recipe], Any]
) -> Callable[[Recipe], Any]:
    """Write the recipe into its folder; refuse a folder with results of another recipe.

    Returns `load` with all checks of what it loads.
    """
    # In one process, and before it changes a file: others could read one that is being removed, and
    # what they find on the disk of another machine could differ.
    there = computed_once(partial(_contents, recipe, output, resume))
    if isinstance(there, GdroError):
        raise there
    goes_on = there.changed == [] and bool(there.begun)
    old = [] if goes_on else [KEPT, ORIGIN, BASE]  # no arm is bound to what others started from
    if goes_on and there.paths:
        # The folder's recipe stays as it is if what is found elsewhere is something else.
        _checked(load, output, False, recipe)
    if there.base is not None and there.base == base_of(load(recipe)):
        old.remove(BASE)
    if is_first():
        for name in old:
            (output / name).unlink(missing_ok=True)
        keep(recipe, output)
    return partial(_checked, load, output, not goes_on)


def _contents(recipe: Recipe, output: Path, resume: bool) -> _Contents | GdroError:
    """What the folder holds, or why it is refused: every process then raises that."""
    try:
        begun = _begun(output, resume)
        changed = differing(recipe, output, begun)
        _check_same(output, resume, begun, changed)
        base = None
        if resume and changed == [] and not begun and (output / BASE).exists():
            base = read_json(output / BASE, ("rate_N",)).get(_OF)
        return _Contents(begun, changed, other_paths(recipe, output), base)
    except GdroError as error:
        return error


def _check_same(output: Path, resume: bool, begun: list[str], changed: list[str] | None) -> None:
    """Raise a RecipeError if the folder holds a run of another recipe, or of an unknown one."""
    if changed and (resume or begun):
        how = "" if begun else ", or leave out --resume"
        raise RecipeError(
            f"{output} holds the run of another recipe: {'; '.join(changed)}; use the values of the "
            f"folder to continue it, or pass another --output for a new run{how}"
        )
    if changed is None and resume and begun:
        raise RecipeError(
            f"{output} holds arms ({', '.join(sorted(set(begun)))}) but no {KEPT}, so it is unknown "
            "which recipe they belong to; pass another --output for a new run"
        )


def _begun(output: Path, resume: bool) -> list[str]:
    """Names of arms that are finished or have a checkpoint; finished ones need `resume`."""
    done = sorted(p.parent.name for p in output.glob(f"*/{EVAL}"))
    if done and not resume:
        raise CheckpointError(
            f"{output} already holds finished arms ({', '.join(done)}); pass --resume to keep them, or "
            "--output for another folder"
        )
    return [*done, *(p.parent.name for p in output.glob(f"*/{PREFIX_CHECKPOINT_DIR}-*"))]


def task_module(recipe: Recipe) -> Any:
    """Module of a recipe's task.

    Raises:
        RecipeError: No such module, or it has no `load`.
    """
    try:
        module = import_module(recipe.task)
    except ModuleNotFoundError as error:
        if error.name and not recipe.task.startswith(error.name):
            raise
        raise RecipeError(f"task {recipe.task!r} cannot be imported; pass a module path") from error
    if not hasattr(module, "load"):
        raise RecipeError(f"task {recipe.task!r} has no load(seed, **options) -> TaskData")
    return module


def check_task_options(recipe: Recipe, load: Callable[..., Any]) -> None:
    """Raise a RecipeError that names an option which the task does not take, or lacks."""
    try:
        inspect.signature(load).bind(seed=recipe.seed, **recipe.task_options)
    except TypeError as problem:
        options = ", ".join(list(inspect.signature(load).parameters)[1:])
        raise RecipeError(f"task_options of {recipe.task}: {problem}; known: {options}") from problem
    hints = get_type_hints(load)
    for name, value in recipe.task_options.items():
        check_kind(f"task_options.{name}", value, hints.get(name, Any))


def evaluate_model(
    recipe: Recipe,
    task: Any,
    model: Any,
    base_N: Any,
    samples: int | None = None,
    stream: int = 1,
    decoder: StaticDecoder | None = None,
    config: Any = None,
) -> tuple[dict[str, Any], Any]:
    """Held-out metrics of a model, whole, by slice and by source.

    Args:
        recipe: The recipe.
        task: Its task.
        model: The model.
        base_N: Pass rate of the base model on each held-out prompt, which defines the slices, shape
            (N,); default: the model's own.
        samples: Completions per prompt; default: the recipe's.
        stream: Number that is added to the recipe's seed.
        decoder: Generates instead of the model itself; default: as the recipe says.
        config: The trainer's options; default: from the recipe. During training it must be the
            trainer's own: creating another resets the state that accelerate has for the process.

    Returns:
        The metrics, and the number of right completions of each prompt, shape (N,).
    """
    options = recipe.evaluation
    samples = samples or options.samples
    config = config or trl_config(recipe, Path("unused"))
    if decoder is None and recipe.adapter.generation == "static":
        decoder = StaticDecoder()
    sampling = {
        "max_new_tokens": config.max_completion_length,
        "temperature": config.temperature,
        "batch_size": options.batch_size,
        "seed": recipe.seed + stream,
    }
    data = task.tokenizer, task.heldout, task.reward_funcs
    with nullcontext() if decoder is None else decoder.standing_in(model):
        drawn = draw(model, *data, samples=samples, **sampling)
    successes_N = drawn.right_NS.sum(axis=1)
    rate_N = successes_N / samples if base_N is None else base_N
    result = metrics(successes_N, samples, options.k, also=options.also)
    result["length"] = float(drawn.tokens_NS.mean())
    if len(task.reward_funcs) > 1:
        means = drawn.scores_NSK.mean(axis=(0, 1)).tolist()
        names = [function.__name__ for function in task.reward_funcs]
        result["rewards"] = dict(zip(names, means, strict=True))
    counts = successes_N, samples, options.k
    result["slices"] = by_slice(*counts, rate_N, options.also)
    if "source" in task.heldout.column_names:
        result["sources"] = by_source(*counts, task.heldout["source"][:], options.also)
    return result, successes_N


def evaluate_base(recipe: Recipe, output: Path, load: Callable[[Recipe], Any]) -> Any:
    """Pass rates of the base model on held-out prompts, which define the slices."""
    path, samples = output / BASE, recipe.evaluation.base_samples
    if not computed_once(path.exists):
        task = load(recipe)  # in every process, so that each of them reports what is wrong with it
        config = trl_config(recipe, output)

        def evaluate() -> None:
            of = base_of(task)
            model = task.model.to(config.device)
            # In the trainer's precision, where gdro generates in place of TRL.
            cast = bool(config.bf16) and recipe.adapter.generation == "static"
            with torch.autocast(config.device.type, dtype=torch.bfloat16, enabled=cast):
                result, successes_N = evaluate_model(recipe, task, model, None, samples)
            write_json(path, {**result, "rate_N": (successes_N / samples).tolist(), _OF: of})

        computed_once(evaluate)
    return np.array(computed_once(lambda: read_json(path, ("rate_N",))["rate_N"]))


def _train_arm(
    recipe: Recipe,
    arm: Arm,
    folder: Path,
    base_N: Any,
    resume: bool,
    load: Callable[[Recipe], Any],
    until: float | None = None,
) -> None:
    task = load(recipe)
    trainer = _trainer(recipe, arm, folder, task)
    checkpoint = last_checkpoint(folder) if resume else None
    if resume:
        for line in passed_over(folder):
            say(line, trainer)
    if resume and checkpoint is None:
        say(f"gdro: no checkpoint in {folder} to resume: the arm starts from its first step", trainer)
    about = {"arm": folder.name, "strategy": arm.strategy, "seed": recipe.seed}

    def evaluate() -> dict[str, Any]:
        result, successes_N = evaluate_model(
            recipe, task, trainer.model, base_N, decoder=trainer.decoder, config=trainer.args
        )
        return {**result, "successes": successes_N.tolist()}

    evaluated = partial(computed_once, evaluate)
    heldout = Heldout(trainer, folder, about, evaluated, recipe.evaluation.every, until)
    if is_first():
        begun(folder, checkpoint)
    trainer.add_callback(heldout)
    with suppress(Trained):
        trainer.train(resume_from_checkpoint=checkpoint)
    if heldout.stopped:
        return
    trainer.save_model(str(folder / "model"))
    result = {} if base_N is None else evaluated()
    if recipe.evaluation.every:
        heldout.write(result)
    result.pop("successes", None)
    ledger = trainer.controller.ledger
    spent = {"rollouts": ledger.rollouts, "tokens": ledger.tokens, "seconds": heldout.seconds}
    if heldout.timed:
        spent["tokens_per_second"] = ledger.tokens / heldout.seconds
    spent["step"] = trainer.state.global_step
    spent["bf16"] = trainer.args.bf16
    # In kilobytes on Linux; the peak of the process, including earlier arms.
    spent["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    curves = curves_of(trainer.state.log_history)
    if trainer.is_world_process_zero():
        write_json(folder / EVAL, {**result, **spent, "strategy": arm.strategy, "curves": curves})
    trainer.accelerator.wait_for_everyone()


def _trainer(recipe: Recipe, arm: Arm, folder: Path, task: Any) -> GDROTrainer:
    """The trainer of an arm; RecipeError if TRL's trainer refuses options that its config took."""
    adapter = asdict(recipe.adapter)
    if adapter["correct"] is None and len(task.reward_funcs) > 1:
        adapter["correct"] = task.reward_funcs[0]  # by the contract of tasks, as in evaluation
    try:
        return GDROTrainer(
            model=task.model,
            reward_funcs=task.reward_funcs,
            args=trl_config(recipe, folder),
            train_dataset=task.train,
            processing_class=task.tokenizer,
            strategy=arm.strategy,
            strategy_options=arm.options,
            difficulty=difficulty_of(recipe.difficulty),
            apply=arm.apply,
            **adapter,
        )
    except GdroError:
        raise
    except ValueError as error:
        raise RecipeError(f"trl options are refused by GRPOTrainer: {error}") from error


def summarise(recipe: Recipe, output: Path, base_N: Any) -> dict[str, Any]:
    """Collect the arms' evaluations, and write them to `summary.json` if there is a base evaluation.

    Returns:
        `recipe`, `seed`, `arms`; with pass rates of the base model (N,) also `base` and `heavy_tail`.
    """
    done = [name for name in recipe.arms if (output / name / EVAL).exists()]
    arms = {name: read_json(output / name / EVAL) for name in done}
    summary = {"recipe": recipe.name, "seed": recipe.seed, "arms": arms}
    if base_N is None:
        return summary
    summary["base"] = read_json(output / BASE, ("rate_N",))
    for name in ("rate_N", _OF):
        summary["base"].pop(name, None)
    low, high = float((base_N < 0.02).mean()), float((base_N > 0.9).mean())
    summary["heavy_tail"] = {"p_below_.02": low, "p_above_.9": high}
    if is_first():
        write_json(output / SUMMARY, summary)
    return summary
