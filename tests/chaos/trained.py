"""The real trainer on the quickstart's model: forked from a process that has imported everything."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from trl import GRPOConfig

from chaos.kills import Where
from chaos.story import RESULT, Job, watched_log
from gdro import make_strategy
from gdro.checkpoint import archive as files
from gdro.common.files import write_json
from gdro.integrations.trl import GDROTrainer
from gdro.integrations.trl.checkpoints import last_checkpoint
from gdro.tasks import chains

STEPS = 8


def job(strategy: str) -> Job:
    """A training of a strategy with TRL."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)  # threads do not survive a fork; nothing is computed before it
    task = chains.load(seed=0, train_size=200, heldout_size=8)

    def work(folder: Path, where: Where) -> None:
        train(folder, strategy, task, where)

    phases = ["checkpoint", "log", "files", "generate", "checkpoint", "files", "observe"]
    if make_strategy(strategy).extends:
        phases.insert(0, "extend")
    return Job("TRL", work, check, phases, STEPS // 2)


def check(folder: Path) -> None:
    """What has a checkpoint's name is whole, and so is all of the newest whole one."""
    for path in folder.rglob("*.npz"):
        files.read(path)
    newest = last_checkpoint(folder)
    if newest is not None:
        for name in ("optimizer.pt", "model.safetensors"):
            assert (Path(newest) / name).stat().st_size > 0


def train(folder: Path, strategy: str, task: Any, where: Where) -> None:
    """Train from where the folder's checkpoints end."""
    config = GRPOConfig(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=32,
        num_generations=4,
        max_completion_length=6,
        learning_rate=5e-4,
        lr_scheduler_type="constant",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="steps",
        save_steps=1,
        save_total_limit=2,
        seed=0,
        disable_tqdm=True,
        logging_steps=100,
    )
    trainer = GDROTrainer(
        model=task.model,
        reward_funcs=task.reward_funcs,
        args=config,
        train_dataset=task.train,
        processing_class=task.tokenizer,
        strategy=strategy,
        id_column="prompt_id",
    )
    _watch(trainer, folder, where)
    newest = last_checkpoint(folder)
    with where.inside("train"):
        trainer.train(resume_from_checkpoint=newest)
    weights = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in trainer.model.parameters()))
    result = {"digest": trainer.controller.digest(), "weights": weights.hexdigest()}
    write_json(folder / RESULT, result)


def _watch(trainer: Any, folder: Path, where: Where) -> None:
    extends = ("extend",) if trainer.controller.strategy.extends else ()
    for name in ("plan", "weigh", "observe", *extends):
        setattr(trainer.controller, name, where.watched(getattr(trainer.controller, name), name))
    trainer.controller.save = where.watched(trainer.controller.save, "checkpoint")
    trainer._gdro_generate = where.watched(trainer._gdro_generate, "generate")
    trainer._save_checkpoint = where.watched(trainer._save_checkpoint, "files")
    opened = trainer._gdro_open_log

    def watched_open(resumed: bool = False) -> None:
        fresh = trainer.controller.log is None
        opened(resumed)
        if fresh:
            trainer.controller.log = watched_log(folder / "gdro", where)
            trainer.controller.log._begun = True

    trainer._gdro_open_log = watched_open
