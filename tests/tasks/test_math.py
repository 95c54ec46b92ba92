"""The task of any sets, on a model that is a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gdro.tasks import math
from gdro.tasks.base import TaskError
from gdro.tasks.tiny_model import byte_tokenizer, config_and_tokenizer, write_tiny

ROWS = [{"problem": f"{i} + {i}?", "answer": str(2 * i)} for i in range(20)]


@pytest.fixture
def data(tmp_path: Path) -> list[dict[str, str]]:
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return [{"set": str(tmp_path / "sums.jsonl")}]


def test_sets_reward_and_model(data, tmp_path: Path) -> None:
    config, tokenizer = config_and_tokenizer("", {"model_type": "qwen3"}, "")
    write_tiny(tmp_path / "model", config, tokenizer)
    task = math.load(
        model=str(tmp_path / "model"),
        data=data,
        heldout=4,
        style="plain",
        instruction="",
        one_line=True,
        wrong=-1.0,
    )
    assert (len(task.train), len(task.heldout)) == (16, 4) and task.tokenizer.padding_side == "left"
    assert not set(task.train["prompt_id"]) & set(task.heldout["prompt_id"])
    reward = task.reward_funcs[0]
    texts = [" 8\nQuestion: 9 + 9?\nAnswer: 18", "18", "it is \\boxed{8}"]
    assert reward(completions=texts, answer=["8"] * 3) == [1.0, -1.0, 1.0]
    assert reward.__name__ == "math_line"
    # A folder's own architecture and tokenizer are what a dry run shrinks.
    dry = math.dry_load(0, tmp_path / "dry", {}, model=str(tmp_path / "model"), data=data, heldout=4)
    assert dry.config.hidden_size == 64 and len(dry.task.tokenizer) == len(byte_tokenizer())


def test_a_model_that_is_not_there_is_told(data, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TaskError, match=r"cannot load the model '/no/such/folder'.*--dry-run"):
        math.load(model="/no/such/folder", data=data, heldout=4)
