"""Resume after any step, and two processes: same plans, weights and digest, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from datasets import Dataset

from gdro import CheckpointError, Controller, make_strategy
from gdro.integrations.pool import dataset_pool
from gdro.integrations.trl import GDROTrainer
from gdro.runlog import read_jsonl


def make(folder: Path, strategy: str = "joint", data: Dataset | None = None, **options: Any):
    return GDROTrainer(
        model=tiny.model(), reward_funcs=tiny.lucky, processing_class=tiny.tokenizer(),
        args=tiny.config(output_dir=str(folder), save_strategy="steps", save_steps=1, **options),
        train_dataset=data or tiny.dataset(), strategy=strategy,
    )  # fmt: skip


MEMORY = "failure-sampling + rollout-gdro + memory(anchors=2, candidates=4, anchor_rate=0.1)"


@pytest.mark.parametrize("strategy", ["joint", "prompt-gdro", MEMORY])
def test_resume_after_any_step_is_bit_identical(tmp_path: Path, strategy: str) -> None:
    whole = make(tmp_path / "whole", strategy, max_steps=6)
    whole.train()
    log = list(read_jsonl(tmp_path / "whole/gdro/groups.jsonl"))
    for step in (1, 3, 5):
        again = make(tmp_path / "whole", strategy, max_steps=6)
        again.train(resume_from_checkpoint=str(tmp_path / f"whole/checkpoint-{step}"))
        assert again.controller.digest() == whole.controller.digest()
        assert torch.equal(tiny.weights(again), tiny.weights(whole))
        assert list(read_jsonl(tmp_path / "whole/gdro/groups.jsonl")) == log
    recalled = whole.controller.ledger.recalled
    assert (recalled > 4) == (strategy == MEMORY)


def test_resume_needs_the_store(tmp_path: Path) -> None:
    make(tmp_path, MEMORY, max_steps=2).train()
    checkpoint = tmp_path / "checkpoint-2"
    (checkpoint / "gdro_memory.npz").unlink()
    with pytest.raises(CheckpointError, match="gdro_memory"):
        make(tmp_path, MEMORY, max_steps=4).train(resume_from_checkpoint=str(checkpoint))


def test_new_run_sets_the_old_log_aside(tmp_path: Path) -> None:
    make(tmp_path, max_steps=2).train()
    make(tmp_path, max_steps=3).train()
    assert len(list(read_jsonl(tmp_path / "gdro/steps.jsonl"))) == 3
    assert len(list(read_jsonl(tmp_path / "gdro/steps.1.jsonl"))) == 2


def test_resume_with_another_strategy_or_pool_is_refused(tmp_path: Path) -> None:
    make(tmp_path, max_steps=2).train()
    checkpoint = str(tmp_path / "checkpoint-2")
    before = (tmp_path / "gdro/steps.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="strategy 'joint'"):
        make(tmp_path, "uniform", max_steps=4).train(resume_from_checkpoint=checkpoint)
    with pytest.raises(CheckpointError, match="keys='match'"):
        make(tmp_path, data=tiny.dataset(20), max_steps=4).train(resume_from_checkpoint=checkpoint)
    (tmp_path / "checkpoint-2/gdro.npz").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        make(tmp_path, max_steps=4).train(resume_from_checkpoint=checkpoint)
    assert (tmp_path / "gdro/steps.jsonl").read_bytes() == before


def test_controller_state_follows_keys_into_a_changed_pool(tmp_path: Path) -> None:
    make(tmp_path, max_steps=3).train()
    pool = dataset_pool(tiny.dataset(20))
    controller = Controller(make_strategy("joint"), pool.problem, seed=3)
    match = controller.load(tmp_path / "checkpoint-3/gdro.npz", keys="match")
    assert (match.matched, match.added, match.removed) == (20, 0, 4)


def test_two_processes_agree(tmp_path: Path) -> None:
    script = Path(__file__).parent / "two_ranks.py"
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc_per_node", "2", str(script), str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [(tmp_path / f"rank{r}.txt").read_text().split() for r in (0, 1)]
    assert lines[0][0] == lines[1][0], "digests differ"
    assert lines[0][1] == lines[1][1], "trained weights differ"
    assert lines[0][2] == lines[1][2] == "96"
    extending = [(tmp_path / f"extending{r}.txt").read_text().split() for r in (0, 1)]
    assert extending[0] == extending[1], "digests, trained weights or ledgers differ"
    assert int(extending[0][2]) <= 96
    remembering = [(tmp_path / f"remembering{r}.txt").read_text().split() for r in (0, 1)]
    assert remembering[0] == remembering[1], "digests, weights, ledgers or stores differ"
    assert "differ between ranks at step" in (tmp_path / "diverged.txt").read_text()
