"""GDROTrainer at the seam through which TRL generates with vLLM; no vLLM is needed."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
import trl.trainer.grpo_trainer as seam
from fake_vllm import FakeVLLM, model
from trl import GRPOTrainer

from gdro.errors import UnsupportedError
from gdro.integrations.trl import GDROTrainer

NOISE = 0.1


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "VLLMGeneration", FakeVLLM)


def make(strategy: str | None, mode: str, **options: Any) -> Any:
    given = {
        "model": model(),
        "processing_class": tiny.tokenizer(),
        "train_dataset": tiny.dataset(),
        "eval_dataset": tiny.dataset(4),
        "reward_funcs": tiny.lucky,
        "args": tiny.config(use_vllm=True, vllm_mode=mode, **options),
    }
    if strategy is None:
        return GRPOTrainer(**given)
    return GDROTrainer(**given, strategy=strategy, id_column="id")


def batches_of(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each step of a training gives to the loss."""
    batches: list[dict[str, Any]] = []
    inner = trainer._generate_and_score_completions
    monkeypatch.setattr(
        trainer,
        "_generate_and_score_completions",
        lambda rows: batches.append(inner(rows)) or batches[-1],
    )
    trainer.train()
    return batches


@pytest.mark.parametrize(
    ("strategy", "mode", "correction"),
    [
        ("rollout-gdro", "server", "sequence_mask"),
        ("failure-sampling + rollout-gdro + memory", "colocate", "token_truncate"),
        ("uniform + memory", "server", "sequence_truncate"),
        ("dapo", "colocate", "token_mask"),
        ("reinforce-ada", "server", "token_truncate"),
    ],
)
def test_every_row_has_the_log_probabilities_of_its_own_prompt(
    strategy: str, mode: str, correction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeVLLM, "noise", NOISE)
    options = {"max_completion_length": 8, "vllm_importance_sampling_mode": correction}
    trainer = make(strategy, mode, max_steps=10, learning_rate=1e-3, **options)
    batches = batches_of(trainer, monkeypatch)
    assert trainer.vllm_generation.synced == len(batches) == 10
    assert {call.num_generations for call in trainer.vllm_generation.calls} == {1}
    for batch in batches:
        assert batch["completion_ids"].shape[0] == 16
        gap = batch["old_per_token_logps"] - batch["sampling_per_token_logps"]
        gap = gap * batch["completion_mask"]
        assert gap.abs().max() < NOISE + 1e-3
        by_token = correction.startswith("token")
        want = (gap if by_token else gap.sum(1, keepdim=True)).exp().clamp(max=3.0)
        torch.testing.assert_close(batch["importance_sampling_ratio"], want)  # and where it is padded


@pytest.mark.parametrize("strategy", ["dapo", "uniform + memory"])
def test_vespo_keeps_its_gradient(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss multiplies the ratios of a whole row: a padding of zero would take the row's gradient."""
    trainer = make(
        strategy,
        "colocate",
        loss_type="vespo",
        vllm_importance_sampling_mode="token_truncate",
        max_steps=10,
        max_completion_length=40,
    )
    widths = [batch["completion_mask"].sum(1) for batch in batches_of(trainer, monkeypatch)]
    assert all(rows.min() < rows.max() for rows in widths), "rows must be padded"
    kept = [h["vespo/phi_seq_mean"] for h in trainer.state.log_history if "vespo/phi_seq_mean" in h]
    assert len(kept) == 10
    assert min(kept) > 0.99  # on policy every row counts whole


@pytest.mark.parametrize("mode", ["server", "colocate"])
def test_uniform_is_bit_identical(mode: str) -> None:
    options = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 8}
    stock = make(None, mode, max_steps=4, **options)
    stock.train()
    ours = make("uniform", mode, max_steps=4, **options)
    ours.train()
    assert torch.equal(tiny.weights(ours), tiny.weights(stock))
    assert not torch.equal(tiny.weights(ours), tiny.weights_of(model()))
    evaluated = {call.num_generations for call in ours.vllm_generation.calls if len(call.prompts) == 8}
    assert evaluated == {4}, "evaluation is the trainer's own"


@pytest.mark.parametrize("mode", ["server", "colocate"])
def test_a_seed_of_the_requests_is_refused(mode: str) -> None:
    with pytest.raises(UnsupportedError, match=r"'seed': 7.*same text.*leave 'seed' out"):
        make("uniform", mode, generation_kwargs={"seed": 7})
    make("uniform", mode, generation_kwargs={"presence_penalty": 0.1})
