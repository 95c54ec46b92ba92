"""Every shipped recipe parses; wrong keys and values are errors that name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdro import Difficulty, GdroError, make_strategy
from gdro.recipes import RecipeError, list_recipes, load_recipe
from gdro.training import run, trl_config


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipe_is_valid(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.description
    trl_config(recipe, tmp_path)
    Difficulty(**recipe.difficulty)
    for arm in recipe.arms.values():
        make_strategy(arm.strategy, **arm.options)


def test_overrides_reach_everything(tmp_path: Path) -> None:
    recipe = load_recipe(
        "quickstart",
        ["trl.learning_rate=0.01", "arms.prompt-gdro.options.eta=2", "seed=7", "difficulty.k=4"],
    )
    assert trl_config(recipe, tmp_path).learning_rate == 0.01
    assert recipe.arms["prompt-gdro"].options == {"eta": 2}
    assert trl_config(recipe, tmp_path).seed == recipe.seed == 7
    assert Difficulty(**recipe.difficulty).k == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sed=1"], "sed"),
        (["seed=x"], "seed|integer|'x'"),
        (["seed"], "has no '='"),
        (["evaluation.sampls=3"], "sampls"),
    ],
)
def test_wrong_override_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("quickstart", overrides)


def test_a_recipe_changes_its_base(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/a.yaml").write_text("task: t\nseed: 3\ntrl: {beta: 0.5, max_steps: 7}\n")
    (tmp_path / "b.yaml").write_text("base: below/a.yaml\nname: b\ntrl: {max_steps: 8}\n")
    (tmp_path / "c.yaml").write_text("base: b.yaml\nname: c\n")
    recipe = load_recipe(str(tmp_path / "c.yaml"), ["trl.beta=1"])
    assert (recipe.name, recipe.task, recipe.seed) == ("c", "t", 3)
    assert recipe.trl == {"beta": 1, "max_steps": 8}
    for text, why in (
        ("base: absent.yaml", "must be the path of another YAML file"),
        ("base: c.yaml", "not lead back"), ("- 1", "holds no mapping"), ("a: [", "is no YAML file"),
    ):  # fmt: skip
        (tmp_path / "b.yaml").write_text(text)
        with pytest.raises(RecipeError, match=why):
            load_recipe(str(tmp_path / "c.yaml"))


def test_accumulation_follows_the_batch_and_the_processes(tmp_path: Path) -> None:
    auto = ["trl.generation_batch_size=512", "trl.gradient_accumulation_steps=auto"]
    config = trl_config(load_recipe("quickstart", auto), tmp_path)
    assert (config.gradient_accumulation_steps, config.steps_per_generation) == (2, 2)
    with pytest.raises(RecipeError, match=r"generation_batch_size is 511; .* = 256"):
        trl_config(load_recipe("quickstart", ["trl.generation_batch_size=511", auto[1]]), tmp_path)


def test_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match="quickstart"):
        load_recipe("nope")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trl.learning_rat=1", "learning_rat is no option"),
        ("trl.num_generations=7", "refused by GRPOConfig"),
        ("task=gdro.tasks.nope", "cannot be imported"),
    ],
)
def test_wrong_values_stop_before_training(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(GdroError, match=message):
        run(load_recipe("quickstart", [override]), tmp_path / "out")


def test_bf16_auto_is_resolved_to_what_the_hardware_has(monkeypatch, tmp_path: Path) -> None:
    for has in (True, False):
        monkeypatch.setattr("gdro.training._has_bf16", lambda has=has: has)
        assert trl_config(load_recipe("smollm2"), tmp_path).bf16 is has
