"""Recipes: YAML files validated by a schema, with `key=value` overrides."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from gdro.config import merge
from gdro.errors import GdroError


class RecipeError(GdroError):
    """A recipe is unknown, or one of its keys or values is wrong."""


@dataclass
class Arm:
    """One trained model: a strategy by name, its options, and whether it acts or only watches."""

    strategy: str = MISSING
    options: dict[str, Any] = field(default_factory=dict)
    apply: bool = True


@dataclass
class Adapter:
    """Arguments of GDROTrainer."""

    id_column: str | None = None
    prior_column: str | None = None
    correct: str | None = None
    prompt_equal: bool = False


@dataclass
class Evaluation:
    """Held-out evaluation: samples a prompt, k of pass@k, and samples that slice by difficulty."""

    samples: int = 16
    k: int = 8
    base_samples: int = 32
    batch_size: int = 256


@dataclass
class Recipe:
    """A whole job.

    Attributes:
        name: Used for the output folder.
        description: One line for `gdro train --help`.
        task: Module with `load(seed, **task_options) -> gdro.tasks.base.TaskData`.
        task_options: Arguments of `load`.
        seed: Seed of the task, the trainer and the controller, the same for every arm.
        arms: What to compare, by name.
        difficulty: Options of `gdro.Difficulty`.
        adapter: Options of `GDROTrainer`.
        evaluation: Options of the held-out evaluation.
        trl: Options of `trl.GRPOConfig`, passed through.
    """

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


def list_recipes() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = files("gdro.recipes")
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_recipe(recipe: str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        recipe: A name of `list_recipes()`, or the path of a YAML file.
        overrides: `key=value` pairs with dots, e.g. `trl.learning_rate=1e-4`.

    Returns:
        The recipe.

    Raises:
        RecipeError: Unknown recipe, key, or a value of the wrong type; names it.
    """
    made = merge(Recipe, _path(recipe), overrides or [], f"recipe {recipe!r}", RecipeError)
    assert isinstance(made, Recipe)
    return made


def _path(recipe: str) -> Any:
    if recipe in list_recipes():
        return files("gdro.recipes") / f"{recipe}.yaml"
    if Path(recipe).is_file():
        return Path(recipe)
    raise RecipeError(
        f"no recipe {recipe!r}; shipped: {', '.join(list_recipes())}; or pass the path of a YAML file"
    )
