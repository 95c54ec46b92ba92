"""GDROTrainer with a vLLM server in another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cpu_weights
import pytest
import runs


@pytest.fixture(scope="module", autouse=True)
def client() -> None:
    cpu_weights.send_by_file()


@pytest.mark.parametrize("strategy", ["rollout-gdro", "default", "dapo"])
def test_rows(strategy: str, server: str, model_folder: Path, tmp_path: Path) -> None:
    """Also after a resume, which starts with the server's weights of the last step."""
    options = {"mode": "server", "vllm_server_base_url": server, "vllm_server_timeout": 120.0}
    options |= {"save_strategy": "steps", "save_steps": 2}
    trainer: Any = runs.make(model_folder, tmp_path, strategy, max_steps=4, **options)
    seen = runs.trained(trainer)
    runs.check(trainer, seen, 4)
    resumed: Any = runs.make(model_folder, tmp_path, strategy, max_steps=6, **options)
    runs.check(resumed, runs.trained(resumed, str(tmp_path / "checkpoint-2")), 4)
    if strategy == "rollout-gdro":
        runs.check_ragged(seen)
