"""Resume after any step, and two processes: same plans, weights and digest, bit for bit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset

from gdro import CheckpointError, Controller, make_strategy
from gdro.integrations.dataset import dataset_pool
from gdro.integrations.trl import GDROTrainer
from gdro.integrations.trl.checkpoints import last_checkpoint
from gdro.log.run_log import read_jsonl


def make(folder: Path, strategy: str = "joint", data: Dataset | None = None, **options: Any):
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        processing_class=tiny.tokenizer(),
        args=tiny.config(
            **{"output_dir": str(folder), "save_strategy": "steps", "save_steps": 1} | options
        ),
        train_dataset=data or tiny.dataset(),
        strategy=strategy,
    )


MEMORY = "failure-sampling + rollout-gdro + memory(anchors=2, candidates=4, anchor_rate=0.1)"


@pytest.mark.parametrize(
    "strategy",
    [MEMORY, *(pytest.param(name, marks=pytest.mark.weekly) for name in ("joint", "prompt-gdro"))],
)
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


@pytest.mark.parametrize("passes", [1, 2])
def test_saving_inside_a_generation_batch_changes_nothing(tmp_path: Path, passes: int) -> None:
    """Losses are still to come then: the plan stays open, and a resumed run generates it again."""
    options: dict[str, Any] = {
        "per_device_train_batch_size": 8,
        "steps_per_generation": 2,
        "num_iterations": passes,
        "max_steps": 4 * passes,
    }
    surrogate = "prompt-gdro(signal=surrogate)"
    saving = make(tmp_path / "saving", surrogate, **options)
    saving.train()
    plain = make(tmp_path / "plain", surrogate, **options | {"save_strategy": "no"})
    plain.train()
    assert saving.controller.ledger.closed == plain.controller.ledger.closed == 2
    assert saving.controller.digest() == plain.controller.digest()
    assert torch.equal(tiny.weights(saving), tiny.weights(plain))
    again = make(tmp_path / "saving", surrogate, **options)
    again.train(resume_from_checkpoint=str(tmp_path / "saving/checkpoint-1"))
    assert again.controller.open_tickets == []
    assert again.controller.ledger.plans == 3, "the checkpoint's, and those that were generated again"
    steps = list(read_jsonl(tmp_path / "saving/gdro/steps.jsonl"))
    assert len(steps) == again.controller.ledger.closed == passes


def test_a_refused_store_leaves_the_controller(tmp_path: Path) -> None:
    make(tmp_path, MEMORY, max_steps=3).train()
    checkpoint = tmp_path / "checkpoint-2"
    store, log = checkpoint / "gdro_memory.npz", tmp_path / "gdro/steps.jsonl"
    kept, before = log.read_bytes(), make(tmp_path, MEMORY).controller.digest()
    with np.load(store) as file:
        arrays = dict(file)
    assert len(arrays["completion_ids"])
    for name, value in (("completion_ids", len(tiny.ALPHABET)), ("rewards_MK", np.nan), ("", None)):
        if name:
            np.savez(store, **arrays | {name: np.full_like(arrays[name], value)})
        else:
            store.unlink()
        again = make(tmp_path, MEMORY, max_steps=4)
        with pytest.raises(CheckpointError, match="gdro_memory"):
            again.train(resume_from_checkpoint=str(checkpoint))
        assert again.controller.digest() == before
        assert log.read_bytes() == kept


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
    with pytest.raises(CheckpointError, match="resume_keys='match'"):
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


def two_processes(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *launch, str(Path(__file__).parent / script), str(folder)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.weekly
def test_sharded_weights_train_and_resume_as_whole_ones(tmp_path: Path) -> None:
    done = two_processes("fsdp_ranks.py", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for strategy in ("default", "dapo"):
        texts = [(tmp_path / f"{strategy}{rank}.txt").read_text() for rank in (0, 1)]
        ends = [line for text in texts for line in text.splitlines()]
        assert len(ends) == 4
        assert len(set(ends)) == 1, "digests or weights differ between ranks, or after a resume"


def test_two_processes_agree(tmp_path: Path) -> None:
    done = two_processes("two_ranks.py", tmp_path)
    assert done.returncode != 0, "the killed rank ends the job"
    assert (tmp_path / "diverged1.txt").exists(), done.stderr[-3000:]
    lines = [(tmp_path / f"rank{r}.txt").read_text().split() for r in (0, 1)]
    assert lines[0][0] == lines[1][0], "digests differ"
    assert lines[0][1] == lines[1][1], "trained weights differ"
    assert lines[0][2] == lines[1][2] == "96"
    extending = [(tmp_path / f"extending{r}.txt").read_text().split() for r in (0, 1)]
    assert extending[0] == extending[1], "digests, trained weights or ledgers differ"
    assert int(extending[0][2]) <= 96
    for memory in ("remembering", "grouping"):
        ranks = [(tmp_path / f"{memory}{r}.txt").read_text().split() for r in (0, 1)]
        assert ranks[0] == ranks[1], "digests, weights, ledgers or stores differ"
    calling = [(tmp_path / f"calling{r}.txt").read_text().split() for r in (0, 1)]
    assert calling[0] == calling[1], "digests, weights or ledgers differ"
    for rank in (0, 1):
        own, message = (tmp_path / f"diverged{rank}.txt").read_text().split(" ", 1)
        assert "differ between ranks at step 2: " in message
        digests = re.findall(r"\b[0-9a-f]{32}\b", message)
        assert len(set(digests)) == 2
        assert digests[rank] == own
    # The killed rank took nothing with it: the last whole checkpoint goes on alone.
    checkpoint = last_checkpoint(tmp_path / "dying")
    assert checkpoint is not None
    assert checkpoint.endswith(("checkpoint-3", "checkpoint-4"))
    alone = make(tmp_path / "dying", max_steps=6)
    alone.train(resume_from_checkpoint=True)
    assert alone.controller.ledger.closed == 6
    steps = [record["step"] for record in read_jsonl(tmp_path / "dying/gdro/steps.jsonl")]
    assert steps == list(range(6))


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    whole = make(tmp_path, max_steps=3)
    whole.train()
    state = tmp_path / "checkpoint-3/trainer_state.json"
    for text in (state.read_text()[:-9], ""):
        state.write_text(text)
        assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    again = make(tmp_path, max_steps=3)
    again.train(resume_from_checkpoint=True)
    assert again.controller.digest() == whole.controller.digest()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-3")
    (tmp_path / "checkpoint-3/gdro.npz").unlink()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        make(tmp_path / "empty").train(resume_from_checkpoint=True)


def test_a_folder_that_is_written_again_is_not_whole_meanwhile(tmp_path: Path) -> None:
    make(tmp_path, max_steps=2).train()
    again = make(tmp_path, max_steps=2)
    save = again.save_model

    def killed(*args: Any, **kwargs: Any) -> None:
        assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1")
        save(*args, **kwargs)

    again.save_model = killed
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
