"""Scripts as people write them, run as they are and again with two lines changed."""

from __future__ import annotations

import runpy
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import words
import yaml
from safetensors.torch import load_file

from gdro.log.run_log import read_jsonl

HERE = Path(__file__).parent
RIGHT = {
    "countdown": "rewards 'format_reward_func' and 'equation_reward_func'",
    "gsm8k_xml": "reward 'correctness_reward_func'",
    "open_r1": "reward 'accuracy_reward'",
    "several_tasks": "rewards 'sum_reward_func' and 'sorting_reward_func'",
    "trl_example": "reward 'accuracy_reward'",
}
"""What each script's trainer takes for right, without a word of the script's."""
IMPORT = "from gdro.integrations.trl import GDROTrainer"
COMMON = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 16,
    "num_generations": 4,
    "max_steps": 4,
    "max_completion_length": 12,
    "logging_steps": 1,
    "bf16": False,
    "use_cpu": True,
    "report_to": "none",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    words.save(folder)
    return folder


def arguments(script: str, model: Path, output: Path) -> list[str]:
    """The command line of a script."""
    if script == "open_r1":
        content = COMMON | {
            "model_name_or_path": str(model),
            "output_dir": str(output),
            "dataset_name": "made-up",
            "reward_funcs": ["accuracy", "format", "tag_count", "length"],
            "do_eval": True,
            "system_prompt": "Think in <think> </think>.",
            "reward_weights": [1.0, 0.5, 0.25, 0.25],
            "per_device_eval_batch_size": 8,
        }
        file = output.parent / "config.yaml"
        file.write_text(yaml.safe_dump(content))
        return ["--config", str(file)]
    if script == "trl_example":
        given = COMMON | {
            "model_name_or_path": model,
            "output_dir": output,
            "dataset_name": "made-up",
            "use_peft": True,
            "lora_target_modules": "q_proj v_proj",
            "lora_r": 2,
            "learning_rate": 0.05,
            "eval_strategy": "steps",
            "eval_steps": 2,
            "per_device_eval_batch_size": 8,
        }
        return [word for name, value in given.items() for word in (f"--{name}", *str(value).split())]
    return [str(model), str(output)]


def changed(script: str, given: str = "") -> str:
    """A script with its two lines changed: where the trainer comes from, and its name."""
    source = (HERE / f"{script}.py").read_text()
    for written in (", GRPOTrainer\n", "    GRPOTrainer,\n", "GRPOTrainer, "):
        source = source.replace(written, "\n" if written.startswith(",") else "", 1)
    source = source.replace("from trl import", f"{IMPORT}\nfrom trl import", 1)
    assert source.count("GRPOTrainer") == 1, "only where the trainer is made"
    return source.replace("GRPOTrainer(", f"GDROTrainer({given}")


def run(path: Path, words: list[str], output: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Run a script as `python PATH WORDS...`; its weights by name."""
    monkeypatch.setattr(sys, "argv", [str(path), *words])
    runpy.run_path(str(path), run_name="__main__")
    (saved,) = output.glob("*.safetensors")
    return sorted((name, tensor.tolist()) for name, tensor in load_file(saved).items())


SELDOM = ("gsm8k_xml", "several_tasks")


@pytest.mark.parametrize(
    "script", [pytest.param(s, marks=[pytest.mark.weekly] * (s in SELDOM)) for s in RIGHT]
)
def test_two_changed_lines_are_enough(
    script: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def trained(name: str, source: str) -> list[Any]:
        path, output = tmp_path / f"{name}.py", tmp_path / name
        path.write_text(source)
        return run(path, arguments(script, model, output), output, monkeypatch)

    plain = trained("plain", (HERE / f"{script}.py").read_text())
    assert "gdro" not in capfd.readouterr().err
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*gdro")
        # Four steps see each prompt less than once, which is said.
        warnings.filterwarnings("ignore", message="a prompt is visited about")
        trained("ours", changed(script))
    (line,) = [x for x in capfd.readouterr().err.splitlines() if x.startswith("gdro: strategy")]
    assert f"right is {RIGHT[script]}" in line
    steps = list(read_jsonl(tmp_path / "ours" / "gdro" / "steps.jsonl"))
    assert [s["ledger"]["rollouts"] for s in steps] == [16, 32, 48, 64]
    assert trained("uniform", changed(script, 'strategy="uniform", ')) == plain
