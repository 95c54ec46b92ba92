"""Every strategy trains the quickstart's model for ten steps through the real trainer."""

from __future__ import annotations

from functools import cache

import pytest
import tiny
import torch

from gdro import list_strategies
from gdro.integrations.trl import GDROTrainer
from gdro.tasks import chains

STEPS, ROWS = 10, 32


@cache
def data():
    """Forty prompts, so that each comes twice; the static difficulty is the length."""
    train, _ = chains.make_datasets(0, 40, 10)
    return train.map(lambda row: {"difficulty": 20.0 * row["length"]})


@pytest.mark.parametrize("name", list_strategies())
def test_every_strategy_trains(name: str) -> None:
    task = chains.load(train_size=40, heldout_size=10)
    before = tiny.weights_of(task.model).clone()
    trainer = GDROTrainer(
        model=task.model,
        reward_funcs=task.reward_funcs,
        processing_class=task.tokenizer,
        args=tiny.config(
            max_steps=STEPS,
            per_device_train_batch_size=ROWS,
            max_completion_length=6,
            learning_rate=1e-4,
        ),
        train_dataset=data(),
        strategy=name,
        id_column="prompt_id",
    )
    trainer.train()
    ledger, strategy = trainer.controller.ledger, trainer.controller.strategy
    kept = ledger.rollouts - ledger.discarded
    assert ledger.rollouts == STEPS * ROWS or (strategy.extends and kept <= STEPS * ROWS)
    after = tiny.weights(trainer)
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)
    logged = [h for h in trainer.state.log_history if "gdro/pass_rate" in h]
    # A plan that waits for its losses is closed, and logged, one step later.
    assert len(logged) == STEPS - strategy.needs_loss
    assert 0.2 < sum(h["gdro/pass_rate"] for h in logged) / len(logged) < 0.9
    if strategy.remembers:
        assert (ledger.recalled > 0) is (getattr(strategy, "warmup", 0) < STEPS)
