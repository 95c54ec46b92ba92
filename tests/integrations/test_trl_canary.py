"""With a constant plan and weight one the trained weights are GRPOTrainer's, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from trl import GRPOTrainer

from gdro.integrations import trl as adapter
from gdro.integrations import trl_score
from gdro.integrations.trl import GDROTrainer

CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "grpo": {"loss_type": "grpo"},
    "dapo": {"loss_type": "dapo"},
    "bnpo": {"loss_type": "bnpo"},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "accumulation": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
    "num_iterations": {"num_iterations": 2},
    "steps_per_generation": {"steps_per_generation": 2, "per_device_train_batch_size": 8},
    "scale_batch": {"scale_rewards": "batch"},
    "scale_none": {"scale_rewards": "none"},
    "beta": {"beta": 0.1},
    "two_rewards": {"reward_funcs": [tiny.lucky, tiny.length]},
    "normalize_then_sum": {
        "reward_funcs": [tiny.lucky, tiny.length],
        "multi_objective_aggregation": "normalize_then_sum",
    },
    "missing_rewards": {"reward_funcs": [tiny.picky]},
    "conversational": {"conversational": True},
}


def _train(cls: type, options: dict[str, Any], **extra: Any) -> Any:
    options = dict(options)
    rewards = options.pop("reward_funcs", [tiny.lucky])
    data = tiny.dataset(conversational=options.pop("conversational", False))
    if cls is GDROTrainer and len(rewards) > 1:
        extra["correct"] = "lucky"
    trainer = cls(
        model=_saved(tiny.model(), options), reward_funcs=rewards, args=tiny.config(**options),
        train_dataset=data, processing_class=tiny.tokenizer(), **extra,
    )  # fmt: skip
    trainer.train()
    return trainer


def _saved(model: Any, options: dict[str, Any]) -> Any:
    if not options.get("beta"):
        return model
    # With beta TRL loads the reference model from where the model came from.
    path = tiny.config().output_dir
    model.save_pretrained(path)
    return type(model).from_pretrained(path)


@pytest.mark.parametrize("case", CASES)
def test_uniform_is_grpo_bit_for_bit(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _train(GRPOTrainer, CASES[case])
    ragged = []
    original = trl_score.advantages
    monkeypatch.setattr(
        trl_score, "advantages", lambda *a: ragged.append(a[1].num_groups) or original(*a)
    )
    ours = _train(GDROTrainer, CASES[case], strategy="uniform", id_column="id")
    assert ragged and set(ragged) == {4}, "the ragged path must have run"
    assert torch.equal(tiny.weights(plain), tiny.weights(ours))
    assert not torch.equal(tiny.weights(ours), tiny.weights_of(tiny.model())), "nothing was trained"
    for key in ("reward", "frac_reward_zero_std"):
        plain_log = [h[key] for h in plain.state.log_history if key in h]
        assert plain_log == [h[key] for h in ours.state.log_history if key in h]


def test_shadow_mode_changes_nothing() -> None:
    plain = _train(GRPOTrainer, {})
    shadow = _train(GDROTrainer, {}, strategy="joint", apply=False)
    assert torch.equal(tiny.weights(plain), tiny.weights(shadow))
    assert shadow.controller.ledger.closed == 4


def test_adapter_knows_no_strategy() -> None:
    source = Path(adapter.__file__).read_text(encoding="utf-8")
    for name in ("Uniform", "PromptGDRO", "RolloutGDRO", ".unique(", "constant"):
        assert name not in source
