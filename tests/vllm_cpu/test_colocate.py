"""GDROTrainer with vLLM in its own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cpu_weights
import pytest
import runs
import tiny
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM


@pytest.fixture(scope="module", autouse=True)
def engine(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One engine for all trainers, made before the first: making it draws random numbers."""
    cpu_weights.keep_layers_plain()
    cpu_weights.engine_for_tests(shared=True)
    runs.make(model_folder, tmp_path_factory.mktemp("first"), None)


@pytest.mark.parametrize("strategy", ["rollout-gdro", "default", "dapo", "reinforce-ada"])
def test_rows(strategy: str, model_folder: Path, tmp_path: Path) -> None:
    trainer: Any = runs.make(model_folder, tmp_path, strategy, max_steps=8)
    seen = runs.trained(trainer)
    runs.check(trainer, seen, 8)
    if strategy in ("rollout-gdro", "default"):
        runs.check_ragged(seen)
    assert strategy != "default" or trainer.controller.ledger.recalled > 0
    assert not torch.equal(tiny.weights(trainer), tiny.weights_of(loaded(model_folder)))


def test_an_adapter_is_merged_for_vllm(model_folder: Path, tmp_path: Path) -> None:
    adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"])
    trainer: Any = runs.make(
        model_folder, tmp_path, "rollout-gdro", max_steps=6, peft_config=adapter, learning_rate=0.1
    )
    seen = runs.trained(trainer)
    runs.check(trainer, seen, 6)
    own = log_probabilities(loaded(model_folder), seen.batches[-1])
    moved = own - seen.batches[-1]["sampling_per_token_logps"]
    assert (moved * seen.batches[-1]["completion_mask"]).abs().max() > 0.01, "the adapter did nothing"


@pytest.mark.parametrize(
    ("strategy", "correction"),
    [("rollout-gdro", "sequence_truncate"), ("default", "token_mask"), ("dapo", "token_truncate")],
)
def test_ratios_belong_to_their_rows(
    strategy: str, correction: str, model_folder: Path, tmp_path: Path
) -> None:
    """vLLM keeps its first weights, so that every row has another ratio."""
    options = {"max_steps": 6, "vllm_importance_sampling_mode": correction}
    trainer: Any = runs.make(model_folder, tmp_path, strategy, **options)
    trainer.vllm_generation.sync_weights()
    trainer.vllm_generation.sync_weights = lambda: None
    first = loaded(model_folder)
    for batch in runs.trained(trainer).batches:
        gap_RT = runs.gaps(batch)
        if strategy != "default":  # remembered rows come from other steps
            stale_RT = log_probabilities(first, batch) - batch["sampling_per_token_logps"]
            assert (stale_RT * batch["completion_mask"]).abs().max() < runs.SAME
        ratio = batch["importance_sampling_ratio"]
        want = (gap_RT if correction.startswith("token") else gap_RT.sum(1, keepdim=True)).exp()
        want = want.where(want <= 3, 0.0) if correction.endswith("mask") else want.clamp(max=3)
        torch.testing.assert_close(ratio, want)
    assert ratio.max() - ratio.min() > 0.1, "the ratios are too close to tell rows apart"


def test_uniform_is_bit_identical(model_folder: Path, tmp_path: Path) -> None:
    weights = []
    for strategy in (None, "uniform"):
        trainer = runs.make(model_folder, tmp_path / str(strategy), strategy, max_steps=4)
        trainer.train()
        weights.append(tiny.weights(trainer))
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("strategy", "prompts"),
    # TRL's own order of prompts repeats after a resume only in the first epoch.
    [("failure-sampling + rollout-gdro + memory", 8), ("dapo", 24)],
)
def test_a_resumed_run_is_the_same(
    strategy: str, prompts: int, model_folder: Path, tmp_path: Path
) -> None:
    options = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "prompts": prompts}
    whole: Any = runs.make(model_folder, tmp_path, strategy, **options)
    whole.train()
    resumed: Any = runs.make(model_folder, tmp_path, strategy, **options)
    seen = runs.trained(resumed, str(tmp_path / "checkpoint-3"))
    assert runs.state(resumed) == runs.state(whole)
    assert len(seen.batches) == 3


def test_an_answer_to_another_prompt_is_noticed(model_folder: Path, tmp_path: Path) -> None:
    """What the other tests rest on: log-probabilities tell prompts apart."""
    trainer: Any = runs.make(model_folder, tmp_path, "rollout-gdro", max_steps=1)
    generate = trainer.vllm_generation.generate

    def mixed(*arguments: Any, **more: Any) -> Any:
        prompts, *columns = generate(*arguments, **more)
        return prompts, *(column[-1:] + column[:-1] for column in columns)

    trainer.vllm_generation.generate = mixed
    with pytest.raises(AssertionError):
        runs.check(trainer, runs.trained(trainer), 1)


def loaded(folder: Path) -> Any:
    """The model that every run starts from."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def log_probabilities(model: Any, batch: runs.Batch) -> torch.Tensor:
    """Log-probability of every token of the completions, shape (R, T); zero where it is padded."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    width = batch["completion_ids"].shape[1]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    logp_RTV = logits[:, -width - 1 : -1].log_softmax(-1)
    logp_RT = logp_RTV.gather(2, batch["completion_ids"].unsqueeze(2)).squeeze(2)
    return logp_RT * batch["completion_mask"]
