"""A run that is killed in the step after its checkpoint: `python killed.py FOLDER STEP`."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gdro.recipes.run import load_task, run
from gdro.recipes.schema import Recipe, load_recipe

OVERRIDES = (
    "task_options={train_size: 40, heldout_size: 8}",
    "trl.max_steps=12",
    "trl.save_steps=4",
    "trl.per_device_train_batch_size=8",
    "trl.logging_steps=1",
    "trl.disable_tqdm=true",
    "evaluation={samples: 2, base_samples: 2, k: 2, every: 3}",
)


def recipe_of(*overrides: str, arms: tuple[str, ...] = ("grpo",)) -> Recipe:
    """The quickstart, tiny."""
    recipe = load_recipe("quickstart", [*OVERRIDES, *overrides])
    recipe.arms = {name: recipe.arms[name] for name in arms}
    return recipe


def main(folder: Path, step: int) -> None:
    """Run until SIGKILL."""

    def load(recipe: Recipe) -> Any:
        task = load_task(recipe)

        def exact_match(**given: Any) -> list[float]:
            if (folder / f"grpo/checkpoint-{step}/trainer_state.json").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            return task.reward_funcs[0](**given)

        return dataclasses.replace(task, reward_funcs=[exact_match])

    run(recipe_of(), folder, load=load)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
