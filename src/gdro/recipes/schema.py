"""Recipes: YAML files validated by a schema, with `key=value` overrides."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from omegaconf.errors import OmegaConfBaseException

from gdro.common.config import merge_written, read_yaml
from gdro.common.files import check_name
from gdro.common.hints import did_you_mean
from gdro.errors import GdroError
from gdro.step.checks import check_seed
from gdro.strategies.registry import text_of


class RecipeError(GdroError):
    """A recipe is unknown, or one of its keys or values is wrong."""


@dataclass
class Arm:
    """One trained model: a strategy (a name, a composition or a list of parts) and its options.

    With `apply: false` it only plans and logs, and the model trains as plain GRPO.
    """

    strategy: Any = MISSING
    options: dict[str, Any] = field(default_factory=dict)
    apply: bool = True


@dataclass
class Adapter:
    """Arguments of GDROTrainer."""

    id_column: str | None = None
    prior_column: str | None = None
    correct: Any = None  # a list in YAML is a tuple of GDROTrainer
    process: Any = None
    prompt_equal: bool = False
    generation: str = "trl"


@dataclass
class Evaluation:
    """Held-out evaluation.

    Attributes:
        samples: Completions per prompt; 0 for no evaluation, e.g. because generation by transformers
            would take longer than the training (`gdro eval` evaluates the saved model).
        k: k of pass@k.
        base_samples: Completions per prompt of the base model, whose pass rates define the slices.
        batch_size: Completions generated at once.
        every: Steps between evaluations during training; 0 for none.
        also: Further k of pass@k.
    """

    samples: int = 16
    k: int = 8
    base_samples: int = 32
    batch_size: int = 256
    every: int = 0
    also: list[int] = field(default_factory=list)


@dataclass
class Recipe:
    """What to train, and how to evaluate it.

    Attributes:
        base: Recipe that this one changes: the name of a shipped one, or a YAML file in the folder
            of this one or below. Keys that are given here win; those of mappings are merged.
        name: Name of the output folder.
        description: One line for `gdro train --help`.
        task: Module with `load(seed, **task_options) -> gdro.tasks.base.TaskData`.
        task_options: Arguments of `load`.
        seed: Seed of the task, the trainer and the controller, the same for every arm.
        arms: Trained models to compare, by name.
        difficulty: Options of `gdro.Difficulty`.
        adapter: Options of `GDROTrainer`.
        evaluation: Options of the held-out evaluation.
        trl: Options of `trl.GRPOConfig`, passed through; `bf16: auto` is true where the hardware has it,
            `gradient_accumulation_steps: auto` makes one optimiser step of a `generation_batch_size`.
        architecture: Configuration of the task's model (`model_type: qwen3`, `hidden_size: ...`), from
            which a dry run without a network makes a tiny model and the estimate of memory.
    """

    base: str | None = None
    name: str = MISSING
    description: str = ""
    task: str = MISSING
    task_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    arms: dict[str, Arm] = field(default_factory=dict)
    difficulty: dict[str, Any] = field(default_factory=dict)
    adapter: Adapter = field(default_factory=Adapter)
    evaluation: Evaluation = field(default_factory=Evaluation)
    trl: dict[str, Any] = field(default_factory=dict)
    architecture: dict[str, Any] = field(default_factory=dict)


@dataclass
class Loaded(Recipe):
    """A recipe from files and overrides, and `written`: the same with interpolations as written.

    `${oc.env:HF_TOKEN}`, for example, stays as it is in the recipe of the run's folder.
    """

    written: dict[str, Any] = field(default_factory=dict, repr=False)


def list_recipes() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = files("gdro.recipes")
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_recipe(recipe: str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        recipe: A name of `list_recipes()`, or the path of a YAML file.
        overrides: `key=value` pairs with dots, e.g. `trl.learning_rate=1e-4`. `base=FILE` takes the
            place of the recipe's own base, from anywhere.

    Returns:
        The recipe.

    Raises:
        RecipeError: Unknown recipe, key, or a value of the wrong type; names it.
    """
    given = overrides or []
    bases = [text.removeprefix("base=") for text in given if text.startswith("base=")]
    paths = _with_bases(_path(recipe), _path(bases[-1]) if bases else None)
    own = [text for text in given if not text.startswith("base=")]
    read, written = merge_written(Recipe, paths, own, f"recipe {recipe!r}", RecipeError)
    loaded = Loaded(**vars(read), written=written)
    for arm in loaded.arms.values():
        arm.strategy = text_of(arm.strategy)
    check_name(loaded.name, "name", RecipeError)
    check_seed(loaded.seed, "seed", RecipeError)
    return loaded


def _with_bases(path: Path, given: Path | None = None) -> list[Path]:
    """The recipe and its bases, the deepest first; `given` is any file in place of its own base."""
    paths, home = [path], path.parent
    if given is not None:
        paths, home = [given, path], given.parent
    while (base := _base_of(paths[0])) is not None:
        below = _base(str(base), paths[0], home)
        if _real(below) in map(_real, paths):
            raise RecipeError(f"{paths[0]} has base: {base}; bases must not form a circle")
        paths.insert(0, below)
    return paths


def _base(base: str, path: Path, home: Path) -> Path:
    """The file of a base; recipes may only read shipped ones, and files of their own folder."""
    if base in list_recipes():
        return _path(base)
    below = path.parent / (base if len(base) < 1000 and base.isprintable() else "")
    outside = not _real(below).is_relative_to(_real(home))
    if outside or below.suffix not in (".yaml", ".yml") or not os.path.isfile(below):
        why = "is outside of that folder" if outside else "is not one"
        raise RecipeError(
            f"{path} has base: {base[:200]!r}, which {why}; it must be the path of another YAML file "
            f"(.yaml, .yml) in {home} or below, or the name of a shipped recipe. Put the file there, or "
            "pass base=FILE among the overrides for one from elsewhere"
        )
    return below


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises where links lead in a circle


def _base_of(path: Path) -> Any:
    try:
        return read_yaml(path, RecipeError).get("base")
    except OmegaConfBaseException as problem:
        raise RecipeError(f"{path}, base: {str(problem).splitlines()[0]}") from problem


def _path(recipe: str) -> Path:
    path, shipped = Path(recipe), list_recipes()
    if recipe in shipped:
        return Path(str(files("gdro.recipes") / f"{recipe}.yaml"))
    if path.is_file():
        return path
    fix = f"pass a YAML file, or a name: {', '.join(shipped)}"
    if recipe and path.is_dir():
        raise RecipeError(f"the recipe {recipe!r} is a folder; {fix}")
    if path.suffix or len(path.parts) > 1:
        raise RecipeError(f"no such file: {recipe}{did_you_mean(path.stem, shipped)}; {fix}")
    raise RecipeError(f"no recipe {recipe!r}{did_you_mean(recipe, shipped)}; {fix}")
