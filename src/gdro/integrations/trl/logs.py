"""The run log of a trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gdro.log.run_log import RunLog

LOG_FOLDER = "gdro"


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
