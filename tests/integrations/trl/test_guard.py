"""The guard of `gdro-tail`: replays that are too frequent say that successes were luck."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tiny

from gdro.integrations.trl import GDROTrainer
from gdro.integrations.trl.guard import LuckWatch
from gdro.types import Plan, Recall, Weights

CONDITION = "only where the whole work is checked"


def step(replays: int, prompts: int = 64) -> tuple[Plan, Weights]:
    zeros = np.zeros(prompts, np.int64)
    recall = (*(Recall(i, "replay") for i in range(replays)), Recall(0, "anchor", 1.0))
    return Plan(0, np.arange(prompts), zeros + 4, zeros), Weights(zeros * 1.0, zeros > 0, recall=recall)


def warned(watch: LuckWatch, replays: int, steps: int) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            watch.see(*step(replays))
    return [str(warning.message) for warning in caught]


def test_warns_once_after_enough_groups() -> None:
    watch = LuckWatch(CONDITION)
    assert warned(watch, 8, 15) == []  # 960 groups
    (message,) = warned(watch, 8, 15)
    assert "12% of 1,024 groups failed on a prompt that was solved before" in message
    assert CONDITION in message and "strategy='gdro'" in message
    assert warned(watch, 8, 30) == []


def test_what_is_usual_is_silent() -> None:
    assert warned(LuckWatch(CONDITION), 3, 100) == []
    assert warned(LuckWatch(""), 60, 100) == []


@pytest.mark.parametrize(("strategy", "watches"), [("gdro-tail", True), ("gdro", False)])
def test_only_strategies_with_a_condition_are_watched(strategy: str, watches: bool) -> None:
    """The trainer counts groups and replays of a real run."""
    trainer = GDROTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        args=tiny.config(max_steps=8),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
        strategy=strategy,
    )
    trainer.train()
    assert trainer._gdro_luck.watches is watches
    assert trainer._gdro_luck._groups == (8 * 4 if watches else 0)
