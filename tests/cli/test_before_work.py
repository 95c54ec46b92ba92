"""What a command cannot do is said before any work: paths, seeds, data, packages."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gdro.cli import main
from gdro.cli.extras import advice
from gdro.recipes.run import trl_config
from gdro.recipes.schema import load_recipe
from gdro.tasks import chains


def said(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a refused command says."""
    assert main(command) == 2
    return capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gdro", "--version"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout.startswith("gdro ")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with a file where a folder is wanted, and files that hold the wrong things."""
    monkeypatch.chdir(tmp_path)
    Path("afile").write_text("hello\n")
    Path("adir").mkdir()
    for name, text in (("list.yaml", "- 1\n"), ("number.yaml", "3\n"), ("cut.yaml", "a: [1,\n")):
        Path(name).write_text(text)
    Path("bytes.yaml").write_bytes(b"\xff\xfe\x00abc")
    rows = [{"problem": f"{i} + 1?", "answer": str(i + 1)} for i in range(12)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rewards = [{"prompt_id": f"p{i % 5}", "rewards": [0, 1, 0, 1]} for i in range(20)]
    Path("rewards.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rewards))
    Path("bed.yaml").write_text(
        "name: tiny\ncontrol: a\narms: {a: {strategy: grpo}, b: {strategy: gdro}}\n"
        "testbeds: {chains: {task: chains, warm_start: chains-a}}\nseeds: 100-101\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("simulate --output afile", ["--output is afile", "a file", "folder"]),
        ("simulate --output afile/below", ["--output is afile/below", "afile is a file"]),
        ("simulate seed=-1", ["seed is -1", "at least 0"]),
        ("simulate difficulty.nosuch=1", ["'nosuch'", "known: tracker"]),
        ("simulate difficulty.k=x", ["k is 'x'", "int"]),
        ("simulate difficulty.edges=x", ["edges are 'x'", "numbers"]),
        ("simulate population=3", ["is 3", "NAME=value"]),
        ("simulate --strategy rollout-gdro rollouts=20", ["rollouts is 20", "rollout-gdro(n_max=60)"]),
        ("simulate --strategy rollout-gdro rollouts=1", ["rollouts is 1", "at least 2"]),
        ("simulate rollouts=1", ["rollouts is 1", "at least 2"]),
        ("simulate seed=99999999999", ["seed is 99999999999", "at most"]),
        ("simulate population.rate_own=-1", ["population.rate_own is -1", "0 or more"]),
        ("simulate population.rate_shared=.inf", ["population.rate_shared is inf", "finite"]),
        ("simulate population.rate_skill=.nan", ["population.rate_skill is nan", "finite"]),
        ("simulate population.tokens=0", ["population.tokens is 0", "1 or more"]),
        ("simulate population.mixture[0].sd=2", ["population.mixture=[...]", "whole"]),
        ("simulate population.mixture=[[1,2,3]]", ["mixture[0] is [1, 2, 3]", "{NAME: value"]),
        ("simulate 'population.mixture=[{share: 1, mean: 0, sd: .nan}]'", ["sd=nan", "finite"]),
        ("simulate arms.a/b.strategy=uniform", ["'a/b'", "names a folder"]),
        ("simulate 'arms={..: {strategy: uniform}}'", ["'..'", "names a folder"]),
        ("report --serve adir --port -1", ["--port is -1", "65535"]),
        ("diagnose rewards.jsonl --seed -1", ["--seed is -1"]),
        ("diagnose rewards.jsonl --right-above nan", ["--right-above is nan"]),
        ("diagnose rewards.jsonl -o adir", ["--output is adir", "a folder", "file"]),
        ("diagnose rewards.jsonl -o afile/page.html", ["afile/page.html", "afile is a file"]),
        ("diagnose rewards.jsonl --png afile", ["--png is afile"]),
        ("diagnose adir", ["cannot read adir", "a folder of such files"]),
        ("data rows.jsonl --to-jsonl adir", ["--to-jsonl is adir"]),
        ("data rows.jsonl --to-jsonl afile/x", ["--to-jsonl is afile/x"]),
        ("data rows.jsonl --to-parquet afile", ["--to-parquet is afile"]),
        ("data rows.jsonl --style chat", ["--style", "--to-jsonl"]),
        ("study list.yaml", ["list.yaml", "not hold a mapping"]),
        ("study number.yaml", ["number.yaml", "`key: value`"]),
        ("study cut.yaml", ["cut.yaml", "not a YAML file"]),
        ("study bytes.yaml", ["bytes.yaml", "not a YAML file"]),
        ("study bed.yaml --output afile", ["--output is afile"]),
        ("study bed.yaml --results afile", ["--results is afile"]),
        ("study bed.yaml difficulty.k=x", ["k is 'x'"]),
        ("study bed.yaml arms.a.difficulty.nope=3", ["'nope'", "known: tracker"]),
        ("study bed.yaml training.rollouts=1", ["training.rollouts is 1", "at least 2"]),
        ("study bed.yaml name=a/b", ["name is 'a/b'", "no '/'"]),
        ("study bed.yaml name=..", ["name is '..'", "no '.'"]),
        ("study bed.yaml sizes.train=0", ["sizes.train is 0", "at least 1"]),
        ("study bed.yaml sizes.train=-1", ["sizes.train is -1", "at least 1"]),
        ("study bed.yaml sizes.heldout=0", ["sizes.heldout is 0", "at least 1"]),
        ("study bed.yaml sizes.samples=4", ["sizes.samples is 4", "at least 8"]),
        ("study bed.yaml training.batch=9999", ["training.batch is 9999", "sizes.train is 1024"]),
        ("study bed.yaml training.minibatches=99", ["training.minibatches is 99", "1 to 64"]),
        ("study bed.yaml training.clip_low=-1", ["training.clip_low is -1", "above 0"]),
        ("study bed.yaml training.clip_high=.nan", ["training.clip_high is nan", "finite"]),
        ("study bed.yaml arms.b.training.batch=x", ["batch is 'x'", "int"]),
        ("study bed.yaml arms.b.training.batch=64.0", ["batch is 64.0", "int"]),
        ("study bed.yaml arms.b.training.bach=64", ["no option 'bach'", "did you mean 'batch'"]),
        ("study bed.yaml seeds=99999999999", ["seeds is 99999999999", "at most 4294967295"]),
        ("study bed.yaml exploration_seeds=99999999999", ["exploration_seeds is 99999999999"]),
        ("study bed.yaml arms.b.strategy=adarft arms.b.options.column=x", ["arms.b", "'x'", "level"]),
        ("study bed.yaml difficulty.bins=column difficulty.column=x", ["'x'", "difficulty, level"]),
        ("study bed.yaml testbeds.chains.task=:X", ["':X'", "module:Class"]),
        ("study bed.yaml testbeds.chains.task=.a:X", ["'.a:X'", "module:Class"]),
        ("study bed.yaml testbeds.chains.task=strings", ["testbeds.chains", "'chains-a'", "'strings'"]),
        ("study bed.yaml testbeds.chains.warm_start=afile", ["afile holds no decoder"]),
        ("study bed.yaml testbeds.chains.variant.sources=[0.5,0.5]", ["2 shares", "has 5 levels"]),
        (
            "study bed.yaml testbeds.chains.variant={unsolvable:\\ 0.7,wrong_labels:\\ 0.7}",
            ["unsolvable is 0.7", "wrong_labels 0.7", "at most 1"],
        ),
        ("eval", ["--data SET", "--recipe"]),
        ("eval --model adir", ["--data SET", "--recipe"]),
        ("eval --data rows.jsonl --model ''", ["--model is empty"]),
        ("eval --data rows.jsonl --model x --output afile", ["--output is afile"]),
        ("eval --data rows.jsonl --model x --temperature nan", ["temperature is nan", "finite"]),
        ("eval --data rows.jsonl --model x --server host", ["--server is 'host'", "http://"]),
        ("eval --data rows.jsonl --model x --server http://h --backend vllm", ["--backend"]),
        ("eval --recipe quickstart --output afile", ["--output is afile"]),
        ("eval --recipe nosuch.yaml", ["no such file: nosuch.yaml"]),
        ("verl-quickstart --strategy nosuch", ["unknown strategy 'nosuch'"]),
        ("verl-quickstart --strategy 'prompt-gdro(signal=surrogate)'", ["loss", "gdro", "TRL"]),
        ("train --recipe nosuch.yaml", ["no such file: nosuch.yaml", "quickstart"]),
        ("train --recipe no/such", ["no such file: no/such"]),
        ("train --recipe recipes/quickstrat.yaml", ["no such file", "did you mean 'quickstart'"]),
        ("train --recipe adir", ["'adir' is a folder"]),
        ("train --recipe list.yaml", ["list.yaml", "not hold a mapping"]),
        ("train --recipe number.yaml", ["number.yaml", "`key: value`"]),
        ("train --recipe bytes.yaml", ["bytes.yaml", "not a YAML file"]),
        ("train --output afile", ["--output is afile"]),
        ("train --dry-run --output afile", ["--output is afile"]),
        ("train seed=-1", ["seed is -1"]),
        ("train base=other.yaml", ["no such file: other.yaml"]),
        ("train name=../x", ["name is '../x'"]),
        ("train --seeds ''", ["seeds ''"]),
        ("train --seeds=-1", ["seeds '-1'"]),
        ("train --seeds 99999999999", ["--seeds is 99999999999", "at most"]),
        ("train --seeds 0-1 evaluation.samples=0", ["--seeds", "evaluation.samples is 0"]),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    command: str, words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in folder.iterdir())
    refused = said(shlex.split(command), capsys)
    assert all(word in refused for word in words), refused
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    "command",
    [["simulate", "--output", ""], ["train", "--output", ""], ["report", "a", "--png", "f", ""]],
)
def test_an_empty_path_is_not_the_folder_that_we_are_in(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert "the path is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trl.output_dir=here"], ["trl.output_dir", "--output"]),
        (["trl.max_steps=0"], ["max_steps is 0", "no step"]),
        (["trl.max_steps=-1", "trl.num_train_epochs=0"], ["num_train_epochs is 0", "no step"]),
        (["trl.seed=-1"], ["trl.seed is -1"]),
        (["trl.temperature=0"], ["trl.temperature is 0", "above 0"]),
        (["trl.learning_rate=-1"], ["trl.learning_rate is -1"]),
        (["trl.max_completion_length=0"], ["trl.max_completion_length is 0"]),
        (["trl.per_device_train_batch_size=0"], ["trl.per_device_train_batch_size is 0"]),
        (["evaluation.k=0"], ["evaluation.k is 0"]),
        (["evaluation.also=[0]"], ["evaluation.also holds 0"]),
        (["trl.loss_type=nope"], ["trl.loss_type is 'nope'", "dr_grpo"]),
        (["trl.scale_rewards=nope"], ["trl.scale_rewards is 'nope'", "batch"]),
        (["trl.importance_sampling_level=nope"], ["importance_sampling_level is 'nope'", "sequence"]),
        (["trl.multi_objective_aggregation=x"], ["aggregation is 'x'", "sum_then_normalize"]),
        (["trl.vllm_mode=nope"], ["trl.vllm_mode is 'nope'", "colocate"]),
        (["trl.gradient_accumulation_steps=0"], ["trl.gradient_accumulation_steps is 0"]),
        (["trl.top_p=2"], ["trl.top_p is 2", "at most 1"]),
        (["trl.epsilon=-1"], ["trl.epsilon is -1", "at least 0"]),
        (["trl.temperature=.nan"], ["trl.temperature is nan", "finite"]),
        (["trl.learning_rate=.inf"], ["trl.learning_rate is inf", "finite"]),
        (["trl.report_to=nope"], ["trl.report_to", "nope"]),
        (["trl.use_vllm=true"], ["trl.use_vllm", "not installed"]),
        (["task_options.train_size=x"], ["task_options.train_size is 'x'", "int"]),
        (["evaluation.batch_size=0"], ["evaluation.batch_size is 0"]),
        (["arms.a/b.strategy=uniform"], ["'a/b'", "name of a folder"]),
        (["task_options.train_size=5"], ["has 5 training prompts", "a step needs 64"]),
        (["adapter.id_column=nope"], ["adapter.id_column", "'nope'", "prompt_id"]),
        (["arms.x.strategy=adarft"], ["arms.x", "'difficulty'"]),
        (["adapter.correct=nope"], ["adapter.correct names", "'nope'", "the trainer has"]),
        (["adapter.correct=3"], ["adapter.correct is 3", "allowed"]),
        (["adapter.process=nope"], ["adapter.process names", "'nope'"]),
        (["trl.beta=0.1"], ["arms.gdro: memory", "beta=0.1", "set beta=0.0"]),
    ],
)
def test_a_recipe_that_cannot_train_is_refused_before_the_base_is_evaluated(
    overrides: list[str], words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = said(["train", "--output", "out", *overrides], capsys)
    assert all(word in refused for word in words), refused
    assert not list(folder.glob("out/*/*")) and not (folder / "out/base.json").exists()


def test_a_model_without_a_chat_template_is_refused_before_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = chains.load(train_size=2, heldout_size=2)
    task.model.save_pretrained("model")
    task.tokenizer.chat_template = None
    task.tokenizer.save_pretrained("model")
    (folder / "mine.yaml").write_text(
        "name: mine\ntask: gdro.tasks.math\n"
        "task_options: {model: model, data: [{set: rows.jsonl}], heldout: 4, style: chat}\n"
        "arms: {grpo: {strategy: grpo}}\ntrl: {per_device_train_batch_size: 8, num_generations: 4, "
        "max_completion_length: 4, use_cpu: true, bf16: false, report_to: none}\n"
    )
    assert "no chat template" in said(["train", "--recipe", "mine.yaml"], capsys)
    for wrong, word in (
        ("data=3", "a list of sources"),
        ("dtype=nope", "float32"),
        ("style=x", "plain"),
        ("heldout=-1", "heldout is -1"),
    ):
        refused = said(["train", "--recipe", "mine.yaml", f"task_options.{wrong}"], capsys)
        assert word in refused, refused


def test_bf16_auto_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    recipe = load_recipe("quickstart", ["trl.bf16=auto"])
    del recipe.trl["use_cpu"]
    config = trl_config(recipe, Path("unused"))
    assert config.use_cpu and config.bf16 in (True, False)
    recipe.trl["fp16"] = True
    assert not trl_config(recipe, Path("unused")).bf16


@pytest.mark.parametrize(
    ("command", "absent", "words"),
    [
        ("train --seeds 0-1", "scipy", ["gdro train needs scipy", "gdro[study]"]),
        ("train", "vl_convert", ["vl_convert", "gdro[trl]"]),
        ("train", "trl", ["gdro train needs trl", "gdro[trl]"]),
        ("study bed.yaml", "scipy", ["gdro study needs scipy", "gdro[study]"]),
        ("study bed.yaml", "torch", ["torch", "gdro[study]"]),
        ("report adir", "vl_convert", ["vl_convert", "gdro[report]"]),
        ("diagnose rewards.jsonl", "vl_convert", ["vl_convert", "gdro[report]"]),
        ("simulate", "omegaconf", ["omegaconf", "gdro[trl]"]),
        ("data rows.jsonl", "datasets", ["datasets", "gdro[trl]"]),
        ("data rows.jsonl --check", "math_verify", ["math_verify", "gdro[math]"]),
        ("data reasoning-gym:chain_sum?size=2", "reasoning_gym", ["gdro[lm]"]),
        ("eval --data rows.jsonl --model x --server http://x", "openai", ["openai", "gdro[server]"]),
        ("verl-quickstart", "verl", ["make setup-verl"]),
        ("eval --recipe quickstart", "trl", ["gdro eval needs trl", "gdro[trl]"]),
    ],
)
def test_a_missing_extra_is_named_before_any_work(
    command: str,
    absent: str,
    words: list[str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    refused = said(shlex.split(command), capsys)
    assert all(word in refused for word in words), refused


def test_advice_on_imports_that_fail() -> None:
    assert (
        advice(ModuleNotFoundError("no", name="scipy.stats"), "train") == "; pip install 'gdro[study]'"
    )
    assert advice(ModuleNotFoundError("no", name="omegaconf"), "study") == "; pip install 'gdro[study]'"
    assert "'my_rewards'" in advice(ModuleNotFoundError("no", name="my_rewards"), "train")
    assert advice(ImportError("install vLLM with ..."), "train") == ""


def test_a_full_disk_is_no_traceback(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gdro.report.write_report", full)
    assert "No space left" in said(["report", "adir"], capsys)
