"""The quickstart task: data, reward, and a warm start that is heavy-tailed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from gdro import ProblemError
from gdro.recipes.heldout import draw
from gdro.tasks import chains

ROOT = Path(__file__).parents[2]
EXPRESSIONS = {
    "+": "(x+y)%10",
    "-": "(x-y)%10",
    "*": "(x*y)%10",
    "a": "(2*x+3*y+1)%10",
    "b": "(x*y+x+y)%10",
    "c": "(x*x+7*y)%10",
}


def test_answers_are_right() -> None:
    train, heldout = chains.make_datasets(0, 300, 100)
    for row in [*train, *heldout]:
        prompt, x, answer = row["prompt"], int(row["prompt"][-1]), ""
        for operation, y in zip(prompt[0:-1:2], prompt[1:-1:2], strict=False):
            if operation != ".":
                x = eval(EXPRESSIONS[operation], {"x": x, "y": int(y)})
                answer += str(x)
        assert answer == row["answer"] and len(answer) == row["length"]


def test_prompts_are_distinct_disjoint_and_seeded() -> None:
    train, heldout = chains.make_datasets(0, 1000, 256)
    ids = (
        train["prompt_id"] + heldout["prompt_id"]
        if isinstance(train["prompt_id"], list)
        else [*train["prompt_id"], *heldout["prompt_id"]]
    )
    assert len(set(ids)) == 1256
    again, _ = chains.make_datasets(0, 1000, 256)
    assert list(again["prompt"]) == list(train["prompt"])
    other, _ = chains.make_datasets(1, 1000, 256)
    assert list(other["prompt"]) != list(train["prompt"])


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ProblemError, match="at most 2000"):
        chains.make_datasets(0, 5000, 10)


def test_reward_is_an_exact_match() -> None:
    got = chains.exact_match(["15", " 15 ", "1", "155", ""], ["15"] * 5)
    assert got == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_tokenizer_round_trip() -> None:
    tokenizer = chains.load(train_size=5, heldout_size=5).tokenizer
    code = tokenizer("*3a4...7")["input_ids"]
    assert len(code) == 6
    assert tokenizer.decode(code) == "*3a4...7"
    assert tokenizer.padding_side == "left"


def test_warm_start_is_small_and_heavy_tailed() -> None:
    folder = Path(chains.__file__).parent / chains.WARM_START
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 3 * 2**20
    task = chains.load()
    drawn = draw(
        task.model,
        task.tokenizer,
        task.heldout,
        [chains.exact_match],
        samples=32,
        max_new_tokens=6,
        batch_size=1024,
    )
    rate = drawn.right_NS.mean(axis=1)
    assert (rate < 0.02).mean() >= 0.10
    assert (rate > 0.9).mean() >= 0.10


@pytest.mark.weekly
def test_warm_start_command(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "studies/make_chains_model.py"), "--steps", "3", "--out"]
    for name in ("a", "b"):
        subprocess.run([*command, str(tmp_path / name)], check=True, capture_output=True)
    a, b = (AutoModelForCausalLM.from_pretrained(tmp_path / n).state_dict() for n in "ab")
    assert all(torch.equal(a[k], b[k]) for k in a)
