"""Every shipped recipe parses; wrong keys and values are errors that name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdro import Difficulty, GdroError, make_strategy
from gdro.common.files import write_json
from gdro.recipes.run import run, trl_config
from gdro.recipes.run_folder import differing, keep
from gdro.recipes.schema import Arm, Recipe, RecipeError, list_recipes, load_recipe


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
        ("base: c.yaml", "not form a circle"),
        ("- 1", "does not hold a mapping"),
        ("a: [", "is not a YAML file"),
    ):
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


def loaded(recipe: Recipe) -> None:
    """In the place of a task: it tells that something is about to be sampled or trained."""
    raise InterruptedError(recipe.name)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trl.learning_rat=1", "learning_rat is not an option"),
        ("trl.max_step=1", "did you mean 'trl.max_steps'"),
        ("trl.num_generations=7", "refused by GRPOConfig"),
        ("trl.num_generations=16", r"arms.rollout-gdro: .*rollout-gdro\(n_max=48\)"),
        ("trl.max_steps=two", "trl.max_steps is 'two'; it must be int"),
        ("trl.learning_rate=abc", "trl.learning_rate is 'abc'; it must be float"),
        ("trl.use_cpu=1", "trl.use_cpu is 1; it must be bool"),
        ("arms.gdro.strategy=rolout-gdro", "arms.gdro: .*did you mean 'rollout-gdro'"),
        ("arms.gdro.strategy=''", "arms.gdro: unknown strategy ''"),
        ("arms.rollout-gdro.options.n_mn=2", "arms.rollout-gdro: .*'n_mn'"),
        ("difficulty.kk=2", "difficulty: .*'kk'.*known: .*edges"),
        ("difficulty.k=0", "difficulty option k is 0"),
    ],
)
def test_wrong_values_stop_before_training(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(GdroError, match=message):
        run(load_recipe("quickstart", [override]), tmp_path / "out", load=loaded)
    assert not (tmp_path / "out").exists()


def test_bf16_auto_is_resolved_to_what_the_hardware_has(monkeypatch, tmp_path: Path) -> None:
    for has in (True, False):
        monkeypatch.setattr("gdro.recipes.trl_options._has_bf16", lambda on_cpu, has=has: has)
        assert trl_config(load_recipe("smollm2"), tmp_path).bf16 is has


def test_a_task_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be imported"):
        run(load_recipe("quickstart", ["task=gdro.tasks.nope"]), tmp_path / "out")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A folder in which one arm, uniform, is finished and another has a checkpoint."""
    keep(made(), tmp_path)
    write_json(tmp_path / "grpo/eval.json", {"rollouts": 7})
    (tmp_path / "rollout-gdro/checkpoint-2").mkdir(parents=True)
    return tmp_path


def made(*overrides: str) -> Recipe:
    recipe = load_recipe("quickstart", ["evaluation.samples=0", *overrides])
    recipe.arms = {name: recipe.arms[name] for name in ("grpo", "rollout-gdro")}
    return recipe


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["seed=1"], "seed is 1, there 0"),
        (["trl.learning_rate=1.0"], "trl.learning_rate is 1.0, there 0.0005"),
        (["trl.max_steps=300"], "trl.max_steps is 300, there 200"),
        (["trl.weight_decay=0.1"], "trl.weight_decay is 0.1, there not given"),
        (["arms.rollout-gdro.options.n_max=6"], "arms.rollout-gdro.options.n_max is 6, there not given"),
        (["arms.grpo.strategy=dapo"], "arms.grpo.strategy is 'dapo', there 'uniform'"),
        (["evaluation.base_samples=64"], "evaluation.base_samples is 64, there 32"),
    ],
)
def test_another_recipe_does_not_go_on(overrides: list[str], said: str, finished: Path) -> None:
    with pytest.raises(RecipeError, match=f"{said};.*pass another --output for a new run$"):
        run(made(*overrides), finished, resume=True, load=loaded)
    (finished / "grpo/eval.json").unlink()  # the checkpoint of the other arm is of that recipe too
    if "arms.grpo.strategy=dapo" not in overrides:
        with pytest.raises(RecipeError, match=said):
            run(made(*overrides), finished, load=loaded)


def test_the_same_recipe_goes_on_with_other_arms(finished: Path) -> None:
    recipe = made("arms.mine.strategy=memory", "trl.save_steps=7", "trl.report_to=none")
    recipe.arms = {"grpo": recipe.arms["grpo"]}
    assert run(recipe, finished, resume=True, load=loaded)["arms"] == {"grpo": {"rollouts": 7}}
    recipe.arms = made("arms.rollout-gdro.options.n_max=6").arms
    with pytest.raises(RecipeError, match="n_max"):  # still known, though the last command left it out
        run(recipe, finished, resume=True, load=loaded)
    recipe.arms = {"mine": Arm("memory")}
    with pytest.raises(InterruptedError):
        run(recipe, finished, resume=True, load=loaded)


def test_arms_without_their_recipe_are_refused(finished: Path) -> None:
    (finished / "recipe.json").unlink()
    with pytest.raises(RecipeError, match=r"but no recipe.json.*another --output"):
        run(made(), finished, resume=True, load=loaded)


def test_slices_of_another_recipe_are_made_anew(tmp_path: Path) -> None:
    """A run that was killed before its first arm leaves base.json alone."""
    keep(load_recipe("quickstart"), tmp_path)
    write_json(tmp_path / "base.json", {"rate_N": [0.5]})
    other = load_recipe("quickstart", ["seed=1"])
    with pytest.raises(RecipeError, match=r"seed is 1, there 0.*or leave out --resume"):
        run(other, tmp_path, resume=True, load=loaded)
    assert (tmp_path / "base.json").exists()
    with pytest.raises(InterruptedError):
        run(other, tmp_path, load=loaded)
    assert not (tmp_path / "base.json").exists()
    assert differing(other, tmp_path, other.arms) == []
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(RecipeError, match="is damaged"):
        run(other, tmp_path, resume=True, load=loaded)


@pytest.mark.parametrize(
    "text", ["arms: " + "[" * 3000, "{a: " * 1500, "seed: " + "9" * 5000, "strategy: " + "{x: " * 300]
)
def test_yaml_without_end_is_one_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "deep.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r"deep\.yaml"):
        load_recipe(str(tmp_path / "deep.yaml"))
