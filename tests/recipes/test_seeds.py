"""Several seeds of a recipe: paired with the first arm, prompt slices weighed by their size."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdro.recipes.schema import Arm, Recipe
from gdro.recipes.seeds import run_seeds, table_of


def evaluated(value: float, easy: float, lengths: list[float]) -> dict:
    return {
        "pass@8": value,
        "mean@8": value / 2,
        "rollouts": 100,
        "tokens": 1000.0 * value,
        "slices": [
            {"name": "hardest (base p < .02)", "pass@8": value / 4, "mean@8": 0.0, "num_prompts": 5},
            {"name": "medium (.3 to .9)", "pass@8": 1.0, "mean@8": easy, "num_prompts": 3},
            {"name": "easy (base p >= .9)", "pass@8": 1.0, "mean@8": 1.0, "num_prompts": 1},
        ],
        "curves": {"step": [1.0] * len(lengths), "reward": [], "entropy": [], "length": lengths},
    }


def fake(recipe: Recipe, folder: Path) -> dict:
    assert folder.name == f"seed-{recipe.seed}"
    base = 0.4 + 0.1 * recipe.seed
    arms = {
        "grpo": evaluated(base, 0.6, [2.0] * 20),
        "mine": evaluated(1.2 * base, 0.5, [2.0] * 10 + [4.0] * 10),
    }
    return {"recipe": recipe.name, "seed": recipe.seed, "base": {"pass@8": 0.1}, "arms": arms}


def test_a_control_that_solves_nothing(tmp_path: Path) -> None:
    def nothing(recipe: Recipe, folder: Path) -> dict:
        made = fake(recipe, folder)
        made["arms"]["grpo"]["pass@8"] = 0.0
        return made

    found = run_seeds(Recipe(name="r", task="t"), [1, 2], tmp_path, nothing)
    assert found["arms"]["mine"]["effect"] is None
    assert table_of(found)[1][1][2] == "undefined: control is 0"


def test_effects_are_paired_by_seed(tmp_path: Path) -> None:
    recipe = Recipe(name="r", task="t", arms={"grpo": Arm("uniform"), "mine": Arm("memory")})
    found = run_seeds(recipe, [1, 2, 4], tmp_path, fake)
    assert found["seeds"] == [1, 2, 4] and recipe.seed == 0
    mine = found["arms"]["mine"]
    assert mine["effect"]["mean"] == pytest.approx(0.2) and mine["effect"]["wins"] == 3
    # Points: (3 * .5 + 1) / 4 against (3 * .6 + 1) / 4.
    assert mine["easy"]["mean"] == pytest.approx(-7.5)
    assert mine["tail"] == pytest.approx(1.2 * (0.5 + 0.6 + 0.8) / 12)
    heads, (control, other) = table_of(found)
    assert len(heads) == len(control) == len(other)
    assert control[2] == "" and other[2].startswith("+20.0%") and other[-2:] == ["", "2.00 to 4.00"]
    assert (tmp_path / "seeds.json").exists()


def test_a_run_with_few_logged_steps_has_ends(tmp_path: Path) -> None:
    def short(recipe: Recipe, folder: Path) -> dict:
        made = fake(recipe, folder)
        made["arms"]["mine"]["curves"]["length"] = [2.0, 3.0, 5.0]
        return made

    found = run_seeds(Recipe(name="r", task="t"), [1, 2], tmp_path, short)
    assert table_of(found)[1][1][-1] == "2.00 to 5.00"
