"""GDROTrainer with a vLLM server in another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cpu_weights
import pytest
import runs
from peft import LoraConfig


@pytest.fixture(scope="module", autouse=True)
def client() -> None:
    cpu_weights.send_by_file()


@pytest.fixture
def options(server: str) -> dict[str, Any]:
    return {"mode": "server", "vllm_server_base_url": server, "vllm_server_timeout": 120.0}


@pytest.mark.parametrize("strategy", ["rollout-gdro", "default", "dapo"])
def test_rows(strategy: str, options: dict[str, Any], model_folder: Path, tmp_path: Path) -> None:
    """Also after a resume, which starts with the server's weights of the last step."""
    options |= {"save_strategy": "steps", "save_steps": 2}
    trainer: Any = runs.make(model_folder, tmp_path, strategy, max_steps=4, **options)
    seen = runs.trained(trainer)
    runs.check(trainer, seen, 4)
    resumed: Any = runs.make(model_folder, tmp_path, strategy, max_steps=6, **options)
    runs.check(resumed, runs.trained(resumed, str(tmp_path / "checkpoint-2")), 4)
    if strategy == "rollout-gdro":
        runs.check_ragged(seen)


def test_an_adapter_is_merged_for_the_server(
    options: dict[str, Any], model_folder: Path, tmp_path: Path
) -> None:
    adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"])
    options |= {"peft_config": adapter, "learning_rate": 0.1, "max_steps": 4}
    trainer: Any = runs.make(model_folder, tmp_path, "default", **options)
    runs.check(trainer, runs.trained(trainer), 4)


def test_evaluations_between_steps(options: dict[str, Any], model_folder: Path, tmp_path: Path) -> None:
    """They ask for several answers to a prompt, as GRPOTrainer does."""
    options |= {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 8}
    trainer: Any = runs.make(model_folder, tmp_path, "rollout-gdro", max_steps=4, **options)
    seen = runs.trained(trainer)
    runs.check(trainer, seen, 4)
    assert len(seen.held_out) == 4
    for batch in seen.held_out:
        prompts = runs.prompts_of(trainer, batch)
        assert prompts[:4] == 4 * prompts[:1] and prompts[4:] == 4 * prompts[4:5]
        assert prompts[0] != prompts[4]
