"""Every recipe runs dry: all of it, made tiny, in seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gdro import GdroError
from gdro.cli import main
from gdro.dry_run.trl import dry_run, tiny_recipe
from gdro.evaluation.transformers import load_model
from gdro.recipes.run import evaluate_base, evaluate_model, load_task, run, trl_config
from gdro.recipes.schema import list_recipes, load_recipe
from gdro.strategies.registry import make_strategy

FOLDER = Path(__file__).parents[2] / "recipes/trl"
SIZES = {"1.7b": 1_720_574_976, "4b": 4_022_468_096, "8b": 8_190_735_360}
ARMS = {
    "grpo": "uniform",
    "prompt": "prompt-gdro",
    "rollout": "rollout-gdro",
    "joint": "prompt-gdro + rollout-gdro",
}
PAPERS = {
    "max_steps": 1000,
    "generation_batch_size": 1024,
    "num_generations": 4,
    "learning_rate": 1e-6,
    "beta": 0.001,
    "epsilon": 0.2,
    "epsilon_high": 0.28,
    "max_completion_length": 4096,
    "temperature": 1.0,
}


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("size", SIZES)
def test_a_recipe_of_the_paper_has_its_numbers(size: str, arm: str) -> None:
    name = f"qwen3_{size}_dapo14k_{arm}"
    recipe = load_recipe(str(FOLDER / f"{name}.yaml"))
    assert recipe.name == name and list(recipe.arms) == [arm]
    assert {key: recipe.trl[key] for key in PAPERS} == PAPERS
    assert recipe.task_options["model"] == f"Qwen/Qwen3-{size.upper()}-Base"
    assert make_strategy(recipe.arms[arm].strategy) == make_strategy(ARMS[arm])


# Each size and each arm; what a recipe holds was checked above for all.
OFTEN = {("1.7b", "prompt"), ("1.7b", "rollout"), ("4b", "grpo"), ("8b", "joint")}


@pytest.mark.parametrize(
    ("size", "arm"),
    [
        pytest.param(size, arm, marks=() if (size, arm) in OFTEN else pytest.mark.weekly)
        for size in SIZES
        for arm in ARMS
    ],
)
def test_a_recipe_of_the_paper_runs_dry(size: str, arm: str, tmp_path: Path) -> None:
    made = dry_run(load_recipe(str(FOLDER / f"qwen3_{size}_dapo14k_{arm}.yaml")), tmp_path)
    steps = [json.loads(s) for s in (tmp_path / arm / "gdro/steps.jsonl").read_text().splitlines()]
    assert len(steps) == 2 and steps[-1]["ledger"]["rollouts"] == 64
    assert -1 <= made.summary["arms"][arm]["curves"]["reward"][-1] <= 1
    assert (tmp_path / arm / "checkpoint-2/gdro.npz").exists()
    config = json.loads((tmp_path / arm / "model/config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"] and config["hidden_size"] == 64
    assert config["tie_word_embeddings"] is (size != "8b")
    costs = dict(made.estimate)
    assert costs["model"] == f"Qwen3ForCausalLM, {SIZES[size]:,} parameters"
    assert costs["rollouts"] == "1,024,000 (1,000 steps of 256 prompts x 4)"
    assert "at most 4.19e+09" in costs["tokens generated"]


@pytest.mark.parametrize("name", list_recipes())
def test_a_shipped_recipe_runs_dry(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    made = dry_run(recipe, tmp_path)
    assert list(made.summary["arms"]) == list(recipe.arms) and "base" in made.summary
    assert (tmp_path / "summary.json").exists()


def test_all_but_sizes_and_hardware_stays() -> None:
    recipe = load_recipe(str(FOLDER / "qwen3_1.7b_dapo14k_rollout.yaml"))
    args = trl_config(load_recipe("quickstart"), Path("unused"))
    small = tiny_recipe(recipe, args, 2)
    changed = {key for key, value in recipe.trl.items() if small.trl[key] != value}
    assert changed == {
        "bf16",
        "use_vllm",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "generation_batch_size",
        "max_steps",
        "save_steps",
    }
    assert (small.arms, small.adapter, small.task_options) == (
        recipe.arms,
        recipe.adapter,
        recipe.task_options,
    )


def test_several_optimiser_steps_a_batch_stay_as_many(tmp_path: Path) -> None:
    overrides = ["trl.gradient_accumulation_steps=128", "trl.num_iterations=2", "trl.max_steps=80"]
    recipe = load_recipe(str(FOLDER / "qwen3_4b_dapo14k_grpo.yaml"), overrides)
    made = dry_run(recipe, tmp_path)
    # 1024 rows are four optimiser steps of 2 x 128, each twice: eight a batch, ten batches in eighty.
    assert dict(made.estimate)["rollouts"] == "10,240 (10 steps of 256 prompts x 4)"
    state = json.loads((tmp_path / "grpo/checkpoint-16/trainer_state.json").read_text())
    assert state["global_step"] == 16
    assert made.summary["arms"]["grpo"]["rollouts"] == 64


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(FOLDER / "qwen3_1.7b_dapo14k_grpo.yaml")
    command = ["train", "--recipe", recipe, "--dry-run", "--output", str(tmp_path / "dry")]
    for _ in range(2):  # its own folder is made anew
        assert main([*command, "--strategy", "memory", "trl.beta=0"]) == 0
    said = capsys.readouterr().out
    assert "Qwen/Qwen3-1.7B-Base became a random Qwen3ForCausalLM" in said
    assert "off: bf16, use_vllm" in said and "1,720,574,976 parameters" in said
    for wrong, why in (
        (["--resume"], "cannot be combined with --seeds or --resume"),
        (["--output", str(tmp_path)], "holds other files"),
        (["trl.generation_batch_size=1023"], "must be a multiple of"),
        (["task_options.modle=x"], "'modle'"),
        (["architecture={model_type: t5}"], "decoder-only"),
        (["architecture={model_type: nope}"], "cannot load the configuration"),
        (["task_options.data=[{set: dapo-math-14k, longst: 1}]"], "'longst'"),
        (
            ["task_options.data=[{set: dapo-math-14k, longest: 1}]"],
            "no problem of dapo-math-14k",
        ),
        (["task_options.data=[{set: dapo-math-14k, shots: 2}]"], "style: plain"),
    ):
        assert main([*command, *wrong]) == 2
        assert why in capsys.readouterr().err


def test_an_evaluation_is_whole_or_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(GdroError, match="must be at least k=8"):
        run(load_recipe("quickstart", ["evaluation.samples=4"]), tmp_path / "out")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(GdroError, match=r"trl\.fsdp.*evaluation\.samples=0"):
        run(load_recipe("quickstart", ["trl.fsdp=full_shard"]), tmp_path / "out")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(GdroError, match=r"ACCELERATE_USE_DEEPSPEED=true.*gdro eval"):
        run(load_recipe("quickstart"), tmp_path / "out")


@pytest.mark.weekly
def test_two_processes_train_a_recipe(tmp_path: Path) -> None:
    """As on several devices: torchrun, one optimiser step a batch, files by the first process alone.

    The evaluations, of which the first process makes all, give the numbers of a single process.
    """
    overrides = [
        "evaluation={samples: 4, base_samples: 6, k: 2, every: 1, batch_size: 50}",
        "trl.max_steps=2",
        "trl.save_steps=2",
        "trl.generation_batch_size=64",
        "trl.gradient_accumulation_steps=auto",
        "trl.per_device_train_batch_size=16",
        "trl.disable_tqdm=true",
        "task_options={train_size: 60, heldout_size: 40}",
    ]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--standalone",
        "-m",
        "gdro.cli",
        "train",
        "--recipe",
        "quickstart",
        "--strategy",
        "rollout-gdro",
        "--output",
        str(tmp_path / "out"),
        *overrides,
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    out = tmp_path / "out"
    arm = json.loads((out / "rollout-gdro/eval.json").read_text())
    assert arm["rollouts"] == 128 and ran.stdout.count("report: ") == 1
    assert (out / "rollout-gdro/checkpoint-2/gdro.npz").exists()
    assert json.loads((out / "summary.json").read_text())["arms"] == {"rollout-gdro": arm}
    lines = (out / "rollout-gdro/evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]

    recipe = load_recipe("quickstart", overrides)
    base_N = evaluate_base(recipe, tmp_path, load_task)
    assert (tmp_path / "base.json").read_text() == (out / "base.json").read_text()
    model = load_model(str(out / "rollout-gdro/model"))
    alone, successes_N = evaluate_model(recipe, load_task(recipe), model, base_N)
    assert arm.items() >= alone.items()
    assert json.loads(lines[-1])["successes"] == successes_N.tolist()
