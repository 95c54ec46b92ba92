"""Time of a GDROTrainer step over a GRPOTrainer step on the sitting's model: interleaved pairs."""

from __future__ import annotations

import dataclasses
import gc
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback
from trl import GRPOTrainer

from gdro.integrations.trl import GDROTrainer
from gdro.integrations.trl.static_decode import StaticDecoder
from gdro.recipes.run import load_task, trl_config
from gdro.recipes.schema import Recipe

sys.path.append(str(Path(__file__).resolve().parents[1]))
from trl_step import Turns

WARM_UP = 3


class DeviceTurns(Turns):
    """Turns that end when the device is done, not when it was given its work."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        super().on_step_end(args, state, control, **kwargs)


def pairs(recipe: Recipe, strategy: str, num: int, folder: Path) -> dict[str, float]:
    """Medians and quartiles of the ratio of step times.

    Args:
        recipe: The job; its learning rate is set to zero, so that both keep the same policy.
        strategy: Of GDROTrainer.
        num: Pairs, after the warm-up.
        folder: For what trainers write.
    """
    total = num + WARM_UP
    trl = {**recipe.trl, "max_steps": total, "learning_rate": 0.0}
    recipe = dataclasses.replace(recipe, trl=trl)
    both = [_trainer(recipe, name, folder / "overhead") for name in (None, strategy)]
    for pair in range(total):
        if pair == WARM_UP:
            gc.collect()
            gc.freeze()
        for turns in both if pair % 2 else both[::-1]:
            turns[1].step()
    for thread, _ in both:
        thread.join()
    gc.unfreeze()
    plain_S, ours_S = (np.array(turns.seconds[WARM_UP:]) for _, turns in both)
    ratio_S = ours_S / plain_S
    low, middle, high = np.quantile(ratio_S, [0.25, 0.5, 0.75]).tolist()
    return {
        "pairs": num,
        "grpo_seconds": float(np.median(plain_S)),
        "gdro_seconds": float(np.median(ours_S)),
        "ratio": middle,
        "ratio_25": low,
        "ratio_75": high,
        "ratio_of_totals": float(ours_S.sum() / plain_S.sum()),
    }


def _trainer(recipe: Recipe, strategy: str | None, folder: Path) -> tuple[threading.Thread, Turns]:
    task, turns = load_task(recipe), DeviceTurns()
    shared: dict[str, Any] = {
        "model": task.model,
        "reward_funcs": task.reward_funcs,
        "args": trl_config(recipe, folder),
        "train_dataset": task.train,
        "processing_class": task.tokenizer,
        "callbacks": [turns],
    }
    if strategy is None:
        made: Any = GRPOTrainer(**shared)
        standing = StaticDecoder().standing_in(made.model)
    else:
        made = GDROTrainer(**shared, strategy=strategy, **dataclasses.asdict(recipe.adapter))
        standing = None
    made.remove_callback(PrinterCallback)

    def train() -> None:
        if standing is None:
            made.train()
        else:
            with standing:
                made.train()

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    return thread, turns
