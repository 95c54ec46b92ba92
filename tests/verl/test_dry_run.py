"""The dry run: any configuration, made tiny, and the recipes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from gdro.cli import main
from gdro.data.verl_schema import write_parquet
from gdro.dry_run.sample_rows import few_rows
from gdro.dry_run.verl.tiny import composed, tiny
from gdro.dry_run.verl.watch import remark
from gdro.errors import DryRunError, GdroError
from gdro.integrations.verl.options import check_config, options_of
from gdro.tasks.tiny_model import byte_tokenizer, save_tiny, shrunk

RECIPES = Path(__file__).parents[2] / "recipes/verl"
CLASSES = ("qwen3", "qwen2", "llama", "mistral", "gemma2", "qwen3_moe", "mixtral", "olmo2", "gpt2")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two sets as `gdro data` writes them."""
    folder = tmp_path_factory.mktemp("data")
    rows = [
        {
            "prompt": f"What is {i} + {i}?" + " Think." * (i % 7),
            "answer": str(2 * i),
            "prompt_id": f"p{i}",
            "source": "test",
        }
        for i in range(40)
    ]
    write_parquet(Dataset.from_list(rows), folder / "dapo-math-14k/train.parquet")
    write_parquet(Dataset.from_list(rows[:8]), folder / "math-500/test.parquet")
    return folder


def recipe(name: str, data: Path, tool: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "DATA": str(data), "VERL_MAIN": tool}
    return subprocess.run([RECIPES / name], env=given, capture_output=True, text=True)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_tiny_model_is_of_the_same_class(kind: str, tmp_path: Path) -> None:
    config = AutoConfig.for_model(kind)
    wanted = AutoModelForCausalLM._model_mapping[type(config)].__name__
    shared = getattr(config, "num_key_value_heads", None) not in (None, config.num_attention_heads)
    tokenizer, made = save_tiny(tmp_path, "", kind, False)
    assert made == wanted
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert sum(p.numel() for p in model.parameters()) < 400_000
    assert shared == (
        getattr(model.config, "num_key_value_heads", None)
        not in (None, model.config.num_attention_heads)
    )
    with torch.no_grad():
        assert model(torch.tensor([[1, 2, 3]])).logits.shape[-1] == len(tokenizer)


def test_bytes_read_any_text(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    text = "∫ x² dx = ½ — 猫\n\tok"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    said = again.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert said == "<|im_start|>user\nhi<|im_end|>\n" and len(again(said)["input_ids"]) == 10


def test_what_is_no_language_model_is_refused() -> None:
    with pytest.raises(DryRunError, match="decoder-only text models"):
        shrunk(AutoConfig.for_model("t5"))
    with pytest.raises(DryRunError, match="pass --stub CLASS"):
        save_tiny(Path("/nonexistent"), "/no/model/here", None, False)


def test_the_shortest_of_the_first_rows_are_taken(tmp_path: Path) -> None:
    texts = ["long " * 30, "b", "a", "long " * 40]
    Dataset.from_dict({"prompt": texts, "n": range(4)}).to_parquet(str(tmp_path / "in.parquet"))
    longest = few_rows(
        [str(tmp_path / "in.parquet")], "prompt", byte_tokenizer(), 2, tmp_path / "out.parquet"
    )
    assert Dataset.from_parquet(str(tmp_path / "out.parquet"))["n"][:] == [1, 2]
    assert longest == len(
        byte_tokenizer()("<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    )
    for name, wrong in (("absent.parquet", "cannot read"), ("in.parquet", "no column 'text'")):
        with pytest.raises(GdroError, match=wrong):
            few_rows([str(tmp_path / name)], "text", byte_tokenizer(), 2, tmp_path / "out.parquet")
    with pytest.raises(DryRunError, match="has 4 rows; the dry run needs 9"):
        few_rows([str(tmp_path / "in.parquet")], "prompt", byte_tokenizer(), 9, tmp_path / "out.parquet")


def test_bad_overrides_are_told_before_anything_starts(tmp_path: Path, capsys) -> None:
    for given, wrong in (
        (["--config-name", "x"], "no Hydra override"),
        (["no.such.option=1"], "verl refuses"),
        (["actor_rollout_ref.actor.strategy=megatron"], "FSDP only"),
        (["trainer.v1.trainer_mode=separate_async"], "synchronous modes; set it to sync"),
        (["trainer.v1.trainer_mode=gdro_colocate_async"], "synchronous modes; set it to gdro"),
        (["reward.reward_model.enable=true"], "reward model"),
        (["algorithm.adv_estimator=gae"], "flash attention"),
        (["critic.enable=true"], "flash attention"),
        (["algorithm.adv_estimator=grpo", "data.train_files=x"], "rollout.name: none is set"),
    ):
        with pytest.raises(DryRunError, match=wrong):
            tiny(given, tmp_path, "qwen3", 2, 8)
    assert main(["verl-dry-run", "--output", str(tmp_path / "x"), "--", "no.such.option=1"]) == 2
    assert "verl refuses" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["1.7b", "4b", "8b"])
@pytest.mark.parametrize("arm", ["grpo", "prompt", "rollout"])
def test_recipes_are_what_verl_and_gdro_take(model: str, arm: str, data: Path, tmp_path: Path) -> None:
    """Each recipe's overrides, as its script passes them, composed by verl and made tiny."""
    ran = recipe(f"qwen3_{model}_dapo14k_{arm}.sh", data, "printf %s\\n")
    overrides = ran.stdout.splitlines()
    config = composed(overrides)
    options = options_of(config)
    strategy, _ = options.make()
    check_config(config, strategy)
    assert strategy.name == {"grpo": "uniform", "prompt": "prompt-gdro", "rollout": "rollout-gdro"}[arm]
    assert config.actor_rollout_ref.model.path == f"Qwen/Qwen3-{model.upper()}-Base"
    assert (config.data.train_batch_size, config.actor_rollout_ref.rollout.n) == (256, 4)
    made = tiny(overrides, tmp_path, "qwen3", 2, 8)
    assert made.model == "Qwen3ForCausalLM"
    small = composed(made.overrides)
    assert small.data.train_batch_size == 8 and small.trainer.total_training_steps == 2
    assert options_of(small).strategy == options.strategy
    assert small.actor_rollout_ref.actor.optim.lr == 1e-6


def test_what_draws_or_writes_elsewhere_is_replaced(data: Path, tmp_path: Path) -> None:
    """verl's filter would never end on a random model; beside gdro it stays, for gdro to refuse it."""
    train, val = data / "dapo-math-14k/train.parquet", data / "math-500/test.parquet"
    given = [
        f"data.train_files={train}",
        f"data.val_files={val}",
        "actor_rollout_ref.model.path=x",
        "algorithm.filter_groups.enable=True",
        "data.gen_batch_size=99",
        "algorithm.adv_estimator=grpo",
        "trainer.rollout_data_dir=/mine",
        "trainer.default_hdfs_dir=hdfs://mine",
        "actor_rollout_ref.rollout.name=vllm",
    ]
    stock = tiny(given, tmp_path, "qwen3", 2, 8)
    small = composed(stock.overrides)
    assert not small.algorithm.filter_groups.enable and small.data.gen_batch_size is None
    assert any("filter_groups is off" in note for note in stock.notes)
    assert small.trainer.rollout_data_dir is None and small.trainer.default_hdfs_dir is None
    assert small.ray_kwargs.ray_init.address == "local", "it joins no cluster that runs already"
    given += ["+gdro.log=/mine", "trainer.v1.trainer_mode=gdro"]
    small = composed(tiny(given, tmp_path, "qwen3", 2, 8).overrides)
    assert small.algorithm.filter_groups.enable and small.data.gen_batch_size == 99
    assert small.gdro.log is None


def test_rewards_that_are_all_equal_are_remarked() -> None:
    equal = {"critic/score/max": 0.0, "critic/score/min": 0.0}
    assert "every reward was 0" in str(remark([equal, equal]))
    assert remark([equal, {"critic/score/max": 1.0, "critic/score/min": 0.0}]) is None
    assert remark([]) is None


@pytest.mark.weekly
def test_a_recipe_runs_dry(data: Path, tmp_path: Path) -> None:
    """verl's main_ppo on real Ray with a recipe's own settings: every part runs, each step once."""
    gdro = Path(sys.executable).parent / "gdro"
    ran = recipe(
        "qwen3_4b_dapo14k_rollout.sh",
        data,
        f"{gdro} verl-dry-run --stub qwen3 --output {tmp_path / 'dry'} --",
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    shown = {line.split("│")[1].strip(): line for line in ran.stdout.splitlines() if "│" in line}
    for part in (
        "rollouts",
        "reward",
        "reference model",
        "advantages",
        "gdro controller",
        "actor update",
        "weights to the rollouts",
    ):
        assert "2 of 2" in shown[part], part
    assert "1 of 2" in shown["checkpoint"] and "1 of 2" in shown["evaluation"]
    assert "gdro/total_rollouts 64" in shown["gdro controller"]
