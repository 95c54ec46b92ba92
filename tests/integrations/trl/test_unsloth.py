"""What Unsloth does to TRL, by a stand-in: it needs a GPU, so it cannot run here."""

from __future__ import annotations

import inspect
import tempfile
from typing import Any

import pytest
import tiny
import torch
import trl
from datasets import Dataset
from trl import GRPOTrainer

from gdro.errors import UnsupportedError
from gdro.integrations.trl import GDROConfig, GDROMixin, GDROTrainer


def copied() -> type:
    """A copy of TRL's trainer that does not derive from it, as Unsloth makes one from its source."""
    source = inspect.getsource(GRPOTrainer).replace("class GRPOTrainer(", "class _UnslothGRPOTrainer(")
    names = dict(vars(inspect.getmodule(GRPOTrainer)))
    exec(source, names)
    return names["_UnslothGRPOTrainer"]


_UnslothGRPOTrainer: Any = copied()


class UnslothGRPOTrainer(_UnslothGRPOTrainer):
    """As Unsloth's: the widest left padding of a batch is a column of it, which the loss reads."""

    widest: list[int]

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        widest = int((output["prompt_mask"] == 0).sum(1).max())
        output["max_left_pad"] = torch.full((len(output["prompt_ids"]), 1), widest)
        return output

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        own = int((inputs["prompt_mask"] == 0).sum(1).max())
        assert inputs["max_left_pad"].shape == (len(inputs["prompt_ids"]), 1)
        assert int(inputs["max_left_pad"].min()) >= own
        self.widest = [*getattr(self, "widest", []), own]
        return super()._compute_loss(model, inputs)


class OnUnsloth(GDROMixin, UnslothGRPOTrainer):
    """What `GDROTrainer` is where Unsloth was imported first."""


@pytest.fixture(autouse=True)
def imported_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdro.integrations.trl.trainer.GRPOTrainer", UnslothGRPOTrainer)


def made(kind: type, **options: Any) -> Any:
    shared: dict[str, Any] = {
        "model": tiny.model(),
        "reward_funcs": tiny.lucky,
        "args": tiny.config(max_steps=3),
        "train_dataset": Dataset.from_dict(
            {"prompt": [f"{i}+a=" for i in range(24)], "answer": [str(i) for i in range(24)]}
        ),
        "processing_class": tiny.tokenizer(),
    }
    return kind(**(shared | options))


def test_uniform_trains_as_unsloth_alone() -> None:
    alone = made(UnslothGRPOTrainer)
    alone.train()
    ours = made(OnUnsloth, strategy="uniform")
    ours.train()
    assert torch.equal(tiny.weights(alone), tiny.weights(ours))
    assert ours.widest == alone.widest


def test_unequal_groups_keep_the_padding_of_their_batch() -> None:
    trainer = made(OnUnsloth, strategy="rollout-gdro")
    trainer.train()
    assert max(trainer.widest) > 0  # prompts of the tiny task differ in length


@pytest.mark.parametrize("strategy", [None, "memory", "dapo", "speed", "gdro-tail"])
def test_rows_of_other_batches_are_refused(strategy: str | None) -> None:
    with pytest.raises(UnsupportedError, match="Pass strategy='rollout-gdro'"):
        made(OnUnsloth, strategy=strategy)


def test_a_config_of_gdro_is_refused() -> None:
    args = GDROConfig(tempfile.mkdtemp(), use_cpu=True, bf16=False, strategy="rollout-gdro")
    with pytest.raises(UnsupportedError, match=r"pass a trl\.GRPOConfig"):
        made(OnUnsloth, args=args)


def test_an_import_that_came_too_late_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdro.integrations.trl.trainer.GRPOTrainer", GRPOTrainer)
    made(GDROTrainer, strategy="rollout-gdro")
    monkeypatch.setattr(trl, "GRPOTrainer", UnslothGRPOTrainer)
    with pytest.raises(UnsupportedError, match="write `import unsloth` above every import"):
        made(GDROTrainer, strategy="rollout-gdro")
