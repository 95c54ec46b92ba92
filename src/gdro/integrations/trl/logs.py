"""The run log of a trainer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdro.integrations.dataset import prompt_text
from gdro.log.run_log import RunLog

LOG_FOLDER = "gdro"


def write_completions(trainer: Any, completions: Sequence[Any]) -> None:
    """Log the completions of this rank's planned rows, if the trainer logs any."""
    planned = trainer._gdro_planned
    if planned and trainer.args.log_completions and trainer.controller.log is not None:
        keys = [trainer.controller.problem.prompt_keys[index] for index in planned]
        texts = zip(keys, map(prompt_text, completions), strict=True)
        trainer.controller.log.write_completions(dict(texts))


def opened_log(trainer: Any, resumed: bool) -> RunLog:
    """The log in a trainer's folder, which names the prompts of its dataset.

    Args:
        trainer: The trainer.
        resumed: Whether the log goes on; otherwise an earlier run's is set aside.
    """
    log = RunLog(Path(trainer.args.output_dir) / LOG_FOLDER)
    if not resumed:
        log.set_aside()
    pool, dataset = trainer._pool, trainer.train_dataset
    log.name_prompts(pool.described(dataset))
    return log
