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
    """One trained model: a strategy (a name, a composition or a list of parts), its options, and whether
    it acts or only watches."""

    strategy: Any = MISSING
    options: dict[str, Any] = field(default_factory=dict)
    apply: bool = True


@dataclass
class Adapter:
    """Arguments of GDROTrainer."""

    id_column: str | None = None
    prior_column: str | None = None
    correct: Any = None  # as of GDROTrainer; YAML has lists for tuples
    prompt_equal: bool = False
    generation: str = "trl"


@dataclass
class Evaluation:
    """Held-out evaluation: samples a prompt, k of pass@k, and samples that slice by difficulty.

    With `samples: 0` there is none, which is right where generation by transformers would take longer
    than the training: `gdro eval` takes the saved model.
    """

    samples: int = 16
    k: int = 8
    base_samples: int = 32
    batch_size: int = 256
    every: int = 0
    also: list[int] = field(default_factory=list)


@dataclass
class Recipe:
    """A whole job.

    Attributes:
        base: Recipe that this one changes: the name of a shipped one, or a YAML file in the folder
            of this one or below. Keys that are given here win; those of mappings are merged.
        name: Used for the output folder.
        description: One line for `gdro train --help`.
        task: Module with `load(seed, **task_options) -> gdro.tasks.base.TaskData`.
        task_options: Arguments of `load`.
        seed: Seed of the task, the trainer and the controller, the same for every arm.
        arms: What to compare, by name.
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
    """A recipe from files and overrides.

    Attributes:
        written: The same with interpolations (`${oc.env:HF_TOKEN}`) as they were written: what is kept.
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
    where = f"recipe {recipe!r}"
    given, named = list(overrides or []), "base="
    own = [text for text in given if not text.startswith(named)]
    bases = [text.removeprefix(named) for text in given if text.startswith(named)]
    paths = _with_bases(_path(recipe), _path(bases[-1]) if bases else None)
    read, written = merge_written(Recipe, paths, own, where, RecipeError)
    made = Loaded(**vars(read), written=written)
    for arm in made.arms.values():
        arm.strategy = text_of(arm.strategy)
    check_name(made.name, "name", RecipeError)
    check_seed(made.seed, "seed", RecipeError)
    return made


def _with_bases(path: Path, given: Path | None = None) -> list[Path]:
    """The recipe and what it is based on, the deepest base first.

    Args:
        path: The recipe.
        given: What the caller wants in the place of its base: any file.
    """
    paths, home = [path], path.parent
    if given is not None:
        paths, home = [given, path], given.parent
    while (base := _base_of(paths[0])) is not None:
        below = _base(str(base), paths[0], home)
        if _real(below) in map(_real, paths):
            raise RecipeError(f"{paths[0]} has base: {base}; it must not lead back to a recipe before")
        paths.insert(0, below)
    return paths


def _base(base: str, path: Path, home: Path) -> Path:
    """The file of a base. A stranger's recipe reads no file but shipped ones, and those it came with."""
    if base in list_recipes():
        return _path(base)
    below = path.parent / (base if len(base) < 1000 and base.isprintable() else "")
    outside = not _real(below).is_relative_to(_real(home))
    if outside or below.suffix not in (".yaml", ".yml") or not os.path.isfile(below):
        why = "is outside of it" if outside else "is none"
        raise RecipeError(
            f"{path} has base: {base[:200]!r}; it must be the path of another YAML file (.yaml, .yml), "
            f"in {home} or below, or the name of a shipped recipe, and this {why}. Put the file "
            "there, or pass base=FILE among the overrides to take one from elsewhere"
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
    if recipe in list_recipes():
        return Path(str(files("gdro.recipes") / f"{recipe}.yaml"))
    if Path(recipe).is_file():
        return Path(recipe)
    shipped = ", ".join(list_recipes())
    if recipe and Path(recipe).is_dir():
        raise RecipeError(f"the recipe {recipe!r} is a folder; pass a YAML file, or a name: {shipped}")
    if Path(recipe).suffix or len(Path(recipe).parts) > 1:
        near = did_you_mean(Path(recipe).stem, list_recipes())
        raise RecipeError(f"no such file: {recipe}{near}; pass a YAML file, or a name: {shipped}")
    guess = did_you_mean(recipe, list_recipes())
    raise RecipeError(
        f"no recipe {recipe!r}{guess}; shipped: {', '.join(list_recipes())}; or pass the path of a YAML "
        "file"
    )
