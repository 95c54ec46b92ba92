"""Seconds until a GDROTrainer over a large dataset trains: construction, first step, later steps.

GRPOTrainer beside it, on the quickstart's model. Seconds are of the processor, on one thread.

    python benchmarks/trl_dataset.py [--rows 200000] [--strategy gdro]
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOTrainer

from gdro.integrations.trl import GDROTrainer
from gdro.recipes.run import load_task, trl_config
from gdro.recipes.schema import load_recipe

STEPS = 12
CONSTRUCTION, FIRST = 1.0, 1.2  # targets: seconds, and first over later steps


class Marks(TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.at = [0.0]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.at = [time.process_time()]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.at.append(time.process_time())


def rows_of(dataset: Dataset, num: int) -> Dataset:
    """So many rows of a task's dataset, made distinct by a column."""
    index = np.arange(num) % len(dataset)
    columns: dict[str, Any] = {}
    for name in dataset.column_names:
        values = dataset[name][:]
        columns[name] = [values[i] for i in index.tolist()]
    return Dataset.from_dict(columns | {"number": list(range(num))})


def measure(strategy: str | None, dataset: Dataset, task: Any, args: Any) -> tuple[float, float, float]:
    """Seconds of construction, of the first step, and of a later one (their median)."""
    marks = Marks()
    shared = {
        "model": task.model,
        "reward_funcs": task.reward_funcs,
        "args": args,
        "train_dataset": dataset,
        "processing_class": task.tokenizer,
        "callbacks": [marks],
    }
    start = time.process_time()
    if strategy is None:
        trainer: Any = GRPOTrainer(**shared)
    else:
        trainer = GDROTrainer(**shared, strategy=strategy)
    constructed = time.process_time() - start
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    seconds = np.diff(marks.at)
    return constructed, float(seconds[0]), float(np.median(seconds[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--strategy", default="gdro")
    given = parser.parse_args()
    recipe = load_recipe("quickstart")
    trl = {**recipe.trl, "max_steps": STEPS, "save_strategy": "no", "disable_tqdm": True}
    recipe = dataclasses.replace(recipe, trl=trl)
    task = load_task(recipe)
    dataset = rows_of(task.train, given.rows)
    print(f"{'trainer':24} construction  first step  later step  first / later")
    for strategy in (None, given.strategy):
        with tempfile.TemporaryDirectory() as folder:
            args = trl_config(recipe, Path(folder))
            constructed, first, later = measure(strategy, dataset, task, args)
        name = strategy or "GRPOTrainer"
        print(f"{name:24} {constructed:10.2f} s {first:9.2f} s {later:9.2f} s {first / later:10.2f} x")
    met = "met" if constructed <= CONSTRUCTION and first / later <= FIRST else "NOT MET"
    print(f"targets: construction <= {CONSTRUCTION} s, first / later <= {FIRST} x: {met}")


if __name__ == "__main__":
    main()
