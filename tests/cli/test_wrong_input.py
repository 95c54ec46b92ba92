"""What a first hour gets wrong: each is one clear error, before anything dear."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gdro.cli import main
from gdro.cli.app import _check_named, _parser
from gdro.cli.train import _recipe
from gdro.recipes.checks import check_arms
from gdro.recipes.schema import list_recipes, load_recipe
from gdro.strategies.registry import named
from gdro.study.config import load_study, strategy_of
from gdro.tasks import chains


def said(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a refused command says."""
    assert main(command) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--recipe", "quickstrt"], "did you mean 'quickstart'"),
        (["adapter.id_colum=x"], "did you mean 'adapter.id_column'? (keys of adapter: id_column, "),
        (["arms.rolout-gdro.options.n_min=3"], "arms.rolout-gdro.strategy is missing"),
        (["arms.rolout-gdro.options.n_min=3"], "did you mean 'arms.rollout-gdro'?"),
        (["arms.gdro.optins.eta=1"], "did you mean 'arms.gdro.options'?"),
        (["max_steps=2"], "did you mean 'trl.max_steps'?"),
        (["samples=2"], "did you mean 'evaluation.samples'?"),
        (["seed=["], "not YAML"),
        (["--strategy", ""], "unknown strategy ''"),
        (["--strategy", "uniform", "--strategy", "uniform"], "a second arm"),
    ],
)
def test_a_recipe_that_is_misspelt(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why in said(["train", *arguments], capsys)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--recipe", "nope"], "no recipe 'nope'"),
        (["--strategy", "rolout-gdro"], "did you mean 'rollout-gdro'?"),
        (["arms.rollout-gdro.options.n_mox=9"], "did you mean 'n_max'?"),
    ],
)
def test_what_is_misspelt_is_told_before_torch_is_imported(arguments: list[str], why: str) -> None:
    program = (
        f"import sys; from gdro.cli import main; assert main(['train', *{arguments!r}]) == 2; "
        "sys.exit(str({'torch', 'trl', 'peft', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert why in done.stderr and done.stderr.endswith("set()\n")


def test_every_strategy_given_is_an_arm() -> None:
    command = ["train", "--strategy", "mopps(target=0.4) + dapo", "--strategy", "uniform", "--shadow"]
    arms = _recipe(_parser().parse_args(command)).arms
    assert {name: arm.strategy for name, arm in arms.items()} == {
        "mopps-target-0-4-dapo": "mopps(target=0.4) + dapo",
        "uniform": "uniform",
    }
    assert not any(arm.apply for arm in arms.values())


def test_names_of_strategies_in_files(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "name: mine\ntask: gdro.tasks.chains\ntrl: {num_generations: 16}\narms:\n  a: {strategy: GRPO}\n"
        "  b: {strategy: [Rollout-GDRO, {name: memory, max_misses: 2}]}\n  c: {strategy: gdro}\n"
    )
    made = load_recipe(str(recipe), ["arms.d.strategy=[mopps,dapo]"])
    assert {name: arm.strategy for name, arm in made.arms.items()} == {
        "a": "uniform",
        "b": "rollout-gdro + memory(max_misses=2)",
        "c": "gdro",
        "d": "mopps + dapo",
    }
    del made.arms["b"]  # its most, 12, is below this recipe's mean
    check_arms(made)
    study = load_study(
        Path(__file__).parents[2] / "studies/smoke.yaml",
        ["arms.grpo.strategy=GRPO", "arms.more.strategy=[gdro, dapo]", "training.rollouts=8"],
    )
    assert study.arms["grpo"].strategy == "uniform"
    assert study.arms["more"].strategy == "gdro + dapo"
    assert strategy_of(study, study.arms["more"]) == named("gdro + dapo", {}, 8)


def test_a_simulation_of_presets_and_lists(tmp_path: Path) -> None:
    small = ["population.num_prompts=64", "batch=8", "num_steps=2", "rollouts=16"]
    arms = ["--strategy", "GDRO", "--strategy", "grpo", "arms.mine.strategy=[grpo, memory]"]
    assert main(["simulate", "--output", str(tmp_path / "s"), *arms, *small]) == 0
    kept = json.loads((tmp_path / "s/GDRO/gdro/run.json").read_text())
    assert kept["options"] == named("gdro", {}, 16).config()


def test_more_of_k_than_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "set.jsonl"
    data.write_text(json.dumps({"problem": "1 + 1?", "answer": "2"}) + "\n")
    sets = ["eval", "--model", "none/such", "--data", str(data), "--output", str(tmp_path / "out")]
    assert "--k is 8" in said([*sets, "--samples", "2", "--k", "8"], capsys)
    assert "--k is 0" in said([*sets, "--samples", "2", "--k", "0", "--k", "2"], capsys)
    recipe = ["eval", "--recipe", "quickstart"]
    assert "at least k=8" in said([*recipe, "evaluation.samples=2"], capsys)
    assert "--samples is for --data; a recipe has" in said([*recipe, "--samples", "16"], capsys)
    assert "--top-p is for --data" in said([*recipe, "--top-p", "0.9"], capsys)
    assert "nothing is sampled" in said([*recipe, "evaluation.samples=0"], capsys)
    assert not (tmp_path / "out").exists()


def test_models_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, empty = tmp_path / "set.jsonl", tmp_path / "empty"
    data.write_text(json.dumps({"problem": "1 + 1?", "answer": "2"}) + "\n")
    empty.mkdir()
    sets = ["eval", "--data", str(data), "--output", str(tmp_path / "out")]
    for model in (str(empty), "none/such/model"):
        refused = said([*sets, "--model", model], capsys)
        assert f"cannot load the model {model!r}" in refused
    recipe = ["eval", "--recipe", "quickstart", "--model", str(empty)]
    assert "cannot load the model" in said(recipe, capsys)
    plain = tmp_path / "plain"
    task = chains.load(train_size=2, heldout_size=2)
    task.model.save_pretrained(plain)
    task.tokenizer.chat_template = None
    task.tokenizer.save_pretrained(plain)
    assert "no chat template; pass --style plain" in said([*sets, "--model", str(plain)], capsys)
    assert not (tmp_path / "out").exists()
    refused = said([*sets, "--model", str(plain), "samples=99", "foo"], capsys)
    assert "'samples=99' cannot be combined with --data" in refused


def test_studies(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert "did you mean studies/smoke.yaml?" in said(["study", "smoke"], capsys)
    for workers in ("0", "-1"):
        refused = said(["study", "studies/smoke.yaml", "--workers", workers], capsys)
        assert f"--workers is {workers}" in refused


@pytest.mark.parametrize(
    ("command", "dest", "found"),
    [
        (
            ["train", "a=1", "--output", "o", "b=2", "--resume", "c=3"],
            "overrides",
            ["a=1", "b=2", "c=3"],
        ),
        (["study", "s.yaml", "--workers", "2", "a=1"], "overrides", ["a=1"]),
        (["eval", "compare", "--k", "8", "a", "b"], "rest", ["compare", "a", "b"]),
        (["report", "a", "--png", "f", "b"], "runs", [Path("a"), Path("b")]),
        (
            ["verl-dry-run", "a=1", "--steps", "3", "--", "+b=2", "-c"],
            "overrides",
            ["a=1", "+b=2", "-c"],
        ),
        (["verl-dry-run", "--", "+b=2", "--steps"], "overrides", ["+b=2", "--steps"]),
    ],
)
def test_lists_stand_anywhere(command: list[str], dest: str, found: list[object]) -> None:
    assert getattr(_parser().parse_args(command), dest) == found


@pytest.mark.parametrize(
    ("command", "usage", "why"),
    [
        (["train", "--outptu", "o", "a=1"], "usage: gdro train", "--outptu; did you mean '--output'?"),
        (["strategies", "uniform", "dapo"], "usage: gdro strategies", "unrecognized arguments: dapo"),
        (["data", "--nope=3", "gsm8k"], "usage: gdro data", "unrecognized arguments: --nope=3"),
    ],
)
def test_what_is_unknown_shows_the_commands_usage(
    command: list[str], usage: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(command)
    error = capsys.readouterr().err
    assert error.startswith(usage) and why in error


def test_an_arm_of_a_simulation_that_is_misspelt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["population.num_prompts=64", "batch=8", "num_steps=2", "--output", str(tmp_path / "s")]
    command = ["simulate", "--strategy", "rollout-gdro", *small]
    refused = said([*command, "arms.rolout-gdro.options.n_min=3"], capsys)
    assert "no arm 'rolout-gdro'; did you mean 'rollout-gdro'?" in refused
    assert not (tmp_path / "s").exists()
    own = ["arms.mine={strategy: memory}", "arms.other.strategy=uniform", "arms.mine.options={}"]
    _check_named(["mine", "other"], own)
    _check_named(["any"], ["arms={any: {strategy: memory}}"])


@pytest.mark.parametrize("command", ["verl-quickstart", "verl-dry-run"])
def test_without_verl_nothing_is_written(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "make setup-verl" in said([command, "--output", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()


def test_help_of_each_command_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "usage: gdro [-h]" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert "gdro study" not in text and "gdro train --recipe" in text
    for name in list_recipes():
        assert f"{name} " in text and load_recipe(name).description in text
    (commands,) = [a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)]
    for option in commands.choices["eval"]._actions:
        assert option.help and option.help != "%(default)s", option.option_strings
