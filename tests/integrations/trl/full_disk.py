"""Trains in a process of its own whose files may not grow beyond a limit after two steps.

A full disk, that is: torch, safetensors and Python all fail as they would there. Prints the error.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import tiny
from transformers import TrainerCallback

from gdro import GdroError
from gdro.integrations.trl import GDROTrainer


def make(folder: Path, strategy: str) -> GDROTrainer:
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        processing_class=tiny.tokenizer(),
        args=tiny.config(output_dir=str(folder), save_strategy="steps", save_steps=1),
        train_dataset=tiny.dataset(),
        strategy=strategy,
    )


class Fills(TrainerCallback):
    """The disk is full once the second checkpoint is whole."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, resource.RLIM_INFINITY))


def main() -> None:
    found = []
    for folder, strategy, limit in json.loads(sys.argv[1]):
        trainer = make(Path(folder), strategy)
        trainer.add_callback(Fills(limit))
        try:
            trainer.train()
        except GdroError as error:
            found.append([type(error).__name__, str(error)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
