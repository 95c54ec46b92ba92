"""The command line end to end: train, resume, eval, report, strategies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gdro import default_strategy, list_strategies, make_strategy
from gdro.cli import main
from gdro.recipes.schema import load_recipe

SMALL = [
    "trl.max_steps=6",
    "trl.per_device_train_batch_size=32",
    "trl.save_steps=2",
    "trl.disable_tqdm=true",
    "task_options={train_size: 60, heldout_size: 40}",
    "evaluation.samples=8",
    "evaluation.base_samples=8",
]


def test_quickstart_recipe_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    arguments = ["train", "--recipe", "quickstart", "--output", str(out), *SMALL]
    assert main(arguments) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["arms"]) == {"grpo", "prompt-gdro", "rollout-gdro", "gdro", "gdro-tail"}
    for arm in summary["arms"].values():
        assert {"pass@8", "mean@8", "rollouts", "tokens", "seconds"} <= set(arm)
        assert arm["rollouts"] == 6 * 32
    assert "rollouts" in (out / "report.html").read_text(encoding="utf-8").lower()
    assert "pass@8" in capsys.readouterr().out

    assert main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    (out / "grpo" / "eval.json").unlink()
    assert main([*arguments, "--resume"]) == 0
    again = json.loads((out / "summary.json").read_text())
    assert again["arms"]["grpo"]["pass@8"] == summary["arms"]["grpo"]["pass@8"]

    recipe = ["eval", "--recipe", "quickstart"]
    assert main([*recipe, "--model", str(out / "grpo/model"), *SMALL]) == 0
    assert main([*recipe, "--output", str(tmp_path / "base"), *SMALL]) == 0
    assert "hardest (base p < .02)" in capsys.readouterr().out
    base = json.loads((tmp_path / "base/eval.json").read_text())
    # The same samples as the run's, and slices by others: none is easy by its own luck.
    assert base["pass@8"] == summary["base"]["pass@8"] and base["slices"] != summary["base"]["slices"]
    assert main(["report", str(out / "rollout-gdro/gdro"), "-o", str(tmp_path / "one.html")]) == 0
    assert (tmp_path / "one.html").exists()


@pytest.mark.parametrize("name", ["quickstart", "smollm2_arms"])
def test_recipes_train_the_default_strategy(name: str) -> None:
    assert make_strategy(load_recipe(name, []).arms["gdro"].strategy) == default_strategy(4)


def test_one_strategy_in_shadow(tmp_path: Path) -> None:
    out = tmp_path / "run"
    option = "arms.joint.options.allocator={name: rollout-gdro, n_max: 6}"
    command = ["train", "--strategy", "joint", "--shadow", "--output", str(out), option, *SMALL]
    assert main(command) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["arms"]) == ["joint"]


def test_strategies_list_and_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategies"]) == 0
    assert "rollout-gdro" in capsys.readouterr().out
    assert main(["strategies", "prompt-gdro"]) == 0
    assert "eta = 4.0" in capsys.readouterr().out


@pytest.mark.parametrize("name", [*list_strategies(), "mopps(target=0.4) + dapo"])
def test_every_strategy_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategies", name]) == 0
    out = capsys.readouterr().out
    assert "a worked example" in out
    assert "gdro train --strategy" in out


@pytest.mark.parametrize(
    "command", [["strategies", "rolout-gdro"], ["train", "--strategy", "rolout-gdro"]]
)
def test_unknown_strategy_suggests(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 2
    assert "did you mean 'rollout-gdro'" in capsys.readouterr().err


def test_missing_run_and_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert main(["eval", "--recipe", "quickstart", "--model", str(tmp_path / "none")]) == 2
    assert "no model folder" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert "--resume" in text and "trl.learning_rate" in text
    promised = " ".join(text.split())
    assert "same number of rollouts" not in promised and "arms that ask for more (dapo" in promised
