"""Run by torchrun on two CPU processes; writes what each rank ended with."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import agents
import numpy as np
import tiny
from transformers import TrainerCallback

from gdro import DivergenceError
from gdro.integrations.trl import GDROTrainer
from gdro.integrations.trl.turns import loss_mask


def make(folder: Path, strategy: str, max_steps: int = 6, **options: Any) -> GDROTrainer:
    def checked(prompts, completions, answer, **_):
        rows = {r["prompt"]: r["answer"] for r in tiny.dataset()}
        assert [rows[p] for p in prompts] == answer
        return tiny.lucky(completions, answer)

    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=checked,
        processing_class=tiny.tokenizer(),
        args=tiny.config(
            output_dir=str(folder), max_steps=max_steps, per_device_train_batch_size=8, **options
        ),
        train_dataset=tiny.dataset(),
        strategy=strategy,
    )


def digest(trainer: GDROTrainer) -> str:
    weights = hashlib.sha256(tiny.weights(trainer).numpy().tobytes()).hexdigest()
    return f"{trainer.controller.digest()} {weights}"


def remember(folder: Path, name: str, strategy: str) -> None:
    """A memory on both ranks: the same store, and the batch of both ranks stays whole."""
    trainer = make(folder / name, strategy, 8)
    generate, rows = trainer._generate_and_score_completions, []

    def counted(inputs):
        batch = generate(inputs)
        mine = batch["completion_mask"].sum()
        total = trainer.accelerator.gather(mine).sum()
        assert int(total) == int(batch["num_items_in_batch"])
        rows.append(len(batch["advantages"]))
        return batch

    trainer._generate_and_score_completions = counted
    trainer.train()
    memory = trainer._gdro_memory
    assert trainer.controller.ledger.recalled > 6
    assert rows == [8] * 8
    stored = {
        p: [(r.prompt_ids.tolist(), r.completion_ids.tolist(), r.rewards_K.tolist()) for r in group]
        for p, group in memory.store.rollouts.items()
    }
    store = hashlib.sha256(repr(stored).encode()).hexdigest()
    rank = trainer.accelerator.process_index
    text = f"{digest(trainer)} {trainer.controller.ledger.recalled_tokens} {store}"
    (folder / f"{name}{rank}.txt").write_text(text)


def call(folder: Path) -> None:
    """Turns, further rounds and a memory on both ranks: the loss counts the model's tokens of both."""
    kind = "rollout function" if agents.OLD else "tools"
    trainer = agents.make(
        kind,
        train_dataset=agents.KINDS[kind]["train_dataset"](8),
        strategy="reinforce-ada(rounds=2) + memory(anchors=3, candidates=5, anchor_rate=0.1)",
        output_dir=str(folder / "calling"),
        per_device_train_batch_size=8,
        max_steps=8,
    )
    generate, masked = trainer._generate_and_score_completions, []

    def counted(inputs):
        batch = generate(inputs)
        total = trainer.accelerator.gather(loss_mask(batch).sum()).sum()
        assert int(total) == int(batch["num_items_in_batch"])
        masked.append(int((batch["tool_mask"] == 0).sum()))
        return batch

    trainer._generate_and_score_completions = counted
    trainer.train()
    ledger = trainer.controller.ledger
    assert ledger.recalled > 3 and ledger.rollouts > 128 and sum(masked) > 20
    rank = trainer.accelerator.process_index
    (folder / f"calling{rank}.txt").write_text(f"{digest(trainer)} {ledger.recalled_tokens}")


def main(folder: Path) -> None:
    remember(folder, "remembering", "uniform + memory(anchors=3, candidates=5, anchor_rate=0.1)")
    remember(folder, "grouping", "popo")
    call(folder)
    extending = make(folder / "extending", "reinforce-ada + prompt-gdro")
    extending.train()
    ledger = extending.controller.ledger
    (folder / f"extending{extending.accelerator.process_index}.txt").write_text(
        f"{digest(extending)} {ledger.rollouts - ledger.discarded}"
    )
    assert ledger.rollouts > 96, "nothing was extended"

    trainer = make(folder / "run", "joint")
    trainer.train()
    rank = trainer.accelerator.process_index
    rollouts = trainer.controller.ledger.rollouts
    (folder / f"rank{rank}.txt").write_text(f"{digest(trainer)} {rollouts}")
    assert (trainer.controller.log is not None) == (rank == 0)

    diverge(folder, rank)
    die(folder, rank)


class After(TrainerCallback):
    """Does something at the end of a step."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self.step, self.act = step, act

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            self.act()


def diverge(folder: Path, rank: int) -> None:
    """One rank's beliefs move after the second step: caught before the third generates or hangs."""
    broken = make(folder / "broken", "reinforce-ada + prompt-gdro")
    if rank == 1:
        visit = np.array([3]), np.array([1]), np.array([2])  # a prompt, its successes and trials
        broken.add_callback(After(2, lambda: broken.controller._tracker.record(*visit)))
    try:
        broken.train()
    except DivergenceError as error:
        (folder / f"diverged{rank}.txt").write_text(f"{broken.controller.digest()} {error}")


def die(folder: Path, rank: int) -> None:
    """One rank is killed after the fourth step; torchrun ends the other."""
    dying = make(folder / "dying", "joint", save_strategy="steps", save_steps=1)
    if rank == 1:
        dying.add_callback(After(4, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    dying.train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
