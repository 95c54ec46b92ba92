"""Several seeds of a recipe: paired with the first arm, prompt slices weighed by their size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gdro.cli import main
from gdro.common.files import write_json
from gdro.recipes.run_folder import differing, keep
from gdro.recipes.schema import Arm, Recipe
from gdro.recipes.seeds import SEEDS, run_seeds, table_of


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


def started(weights: str, rows: str = "r"):
    """A run that leaves what a finished one does, started from weights and rows of these digests."""

    def one(recipe: Recipe, folder: Path) -> dict:
        made = fake(recipe, folder)
        folder.mkdir(parents=True, exist_ok=True)
        keep(recipe, folder)
        for name, arm in made["arms"].items():
            write_json(folder / name / "eval.json", arm)
        write_json(folder / "base.json", made["base"])
        write_json(folder / "origin.json", {"weights": weights, "train": rows, "heldout": rows})
        return made

    return one


def test_seeds_of_other_weights_or_rows_are_left_out(tmp_path: Path) -> None:
    """A base that was made again at its place, and a copy of the model with other rows."""
    arms = {"grpo": Arm("uniform"), "mine": Arm("memory")}
    recipe = Recipe(name="r", task="t", task_options={"model": str(tmp_path)}, arms=arms)
    run_seeds(recipe, [1], tmp_path, started("a"))
    found = run_seeds(recipe, [2], tmp_path, started("b"))
    assert found["seeds"] == [2]
    assert found["left_out"] == {"1": "another recipe: its arms started from other weights"}
    assert run_seeds(recipe, [3], tmp_path, started("a"))["seeds"] == [1, 3]
    (tmp_path / "copy").mkdir()
    recipe.task_options = {"model": str(tmp_path / "copy")}
    assert run_seeds(recipe, [4], tmp_path, started("a"))["seeds"] == [1, 3, 4]
    found = run_seeds(recipe, [5], tmp_path, started("a", "other"))
    assert found["seeds"] == [4, 5] and "other train" in found["left_out"]["1"]
    recipe.task_options["files"] = {"train": "rows.jsonl"}
    run_seeds(recipe, [6], tmp_path, started("a"))
    found = run_seeds(recipe, [7], tmp_path, started("a", "changed where it is"))
    assert found["seeds"] == [7] and "other train" in found["left_out"]["6"]


def test_a_model_of_something_else_is_no_place_of_the_base(tmp_path: Path) -> None:
    """No digest covers a judge."""
    (tmp_path / "judge").mkdir()
    recipe = Recipe(name="r", task="t", task_options={"judge": {"model": str(tmp_path)}})
    started("a")(recipe, tmp_path / "seed-0")
    recipe.task_options = {"judge": {"model": str(tmp_path / "judge")}}
    (line,) = differing(recipe, tmp_path / "seed-0", ["grpo"]) or []
    assert line.startswith("task_options.judge.model")


def test_a_killed_call_leaves_the_seeds_that_it_finished(tmp_path: Path) -> None:
    def killed(recipe: Recipe, folder: Path) -> dict:
        if recipe.seed == 3:
            raise KeyboardInterrupt
        return fake(recipe, folder)

    with pytest.raises(KeyboardInterrupt):
        run_seeds(Recipe(name="r", task="t"), [1, 2, 3], tmp_path, killed)
    assert json.loads((tmp_path / SEEDS).read_text())["seeds"] == [1, 2]


SMALL = (
    "trl.max_steps=4",
    "trl.per_device_train_batch_size=8",
    "trl.disable_tqdm=true",
    "task_options={train_size: 40, heldout_size: 8}",
    "evaluation={samples: 2, base_samples: 2, k: 2, every: 2}",
)


def test_the_results_grow_by_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Real runs of two arms, one of which asks for more rollouts at equal steps."""
    output = ["--output", str(tmp_path / "out")]

    def seeds(which: str, *more: str) -> dict:
        strategies = ["--strategy", "uniform", "--strategy", "dapo"]
        command = ["train", *strategies, "--seeds", which, *output, *SMALL, *more]
        assert main(command) == 0
        return json.loads((tmp_path / "out" / SEEDS).read_text())

    first = seeds("0-1")
    assert first["seeds"] == [0, 1] and first["left_out"] == {}
    capsys.readouterr()
    found = seeds("2", "--resume")
    assert found["seeds"] == [0, 1, 2] and len(found["base"]) == 3
    for name in ("uniform", "dapo"):
        arm, before = found["arms"][name], first["arms"][name]
        assert arm["curves"][:2] == before["curves"] and arm["evaluations"][:2] == before["evaluations"]
        for lines in arm["evaluations"]:
            assert [line["step"] for line in lines] == [2, 4]
            assert {"rollouts", "tokens", "seconds", "mean@2", "pass@2"} == lines[0].keys() - {"step"}
    rollouts = {name: arm["rollouts"] for name, arm in found["arms"].items()}
    assert rollouts["uniform"] == 32 < rollouts["dapo"]
    heads, table = table_of(found)
    column = heads.index("rollouts")
    assert [row[column] for row in table] == ["32", f"{rollouts['dapo']:,.0f}"]
    assert "Rollouts are all that were generated, kept or not" in capsys.readouterr().out

    other = seeds("3", "trl.learning_rate=1e-4")
    assert other["seeds"] == [3] and set(other["left_out"]) == {"0", "1", "2"}
    assert "seed 1 is left out: another recipe: trl.learning_rate" in capsys.readouterr().out
    (tmp_path / "out/seed-1/dapo/eval.json").unlink()  # as killed in its second arm
    assert seeds("2", "--resume")["left_out"].keys() == {"1", "3"}
