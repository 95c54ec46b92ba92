"""With a constant plan and weight one the trained weights are GRPOTrainer's, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import agents
import pictures
import pytest
import tiny
import torch
import trl.trainer.grpo_trainer as seam
from fake_vllm import FakeVLLM
from trl import GRPOTrainer
from uniform_table import TABLE

from gdro.integrations.trl import GDROTrainer, step
from gdro.integrations.trl import trainer as adapter

OF_THE_CLOCK = {
    "step_time",
    "train_runtime",
    "train_samples_per_second",
    "train_steps_per_second",
    "eval_runtime",
    "eval_samples_per_second",
    "eval_steps_per_second",
}


def _train(cls: type, options: dict[str, Any], **extra: Any) -> Any:
    options = {"max_steps": 2, "use_cpu": True} | options
    if "kind" in options:
        given = options | extra
        images = given["kind"] == "images"
        trainer = pictures.make(cls, **given) if images else agents.make(cls=cls, **given)
        trainer.train()
        return trainer
    given = {name: options.pop(name) for name in ("peft_config",) if name in options}
    if "eval_strategy" in options:
        given["eval_dataset"] = tiny.dataset(4)
    rewards = [f() if f.__name__ == "judge" else f for f in options.pop("reward_funcs", [tiny.lucky])]
    data = options.pop("data", tiny.dataset)()
    model = _saved(options.pop("model", tiny.model)(), options)
    trainer = cls(
        model=model,
        reward_funcs=rewards,
        args=tiny.config(**options),
        train_dataset=data,
        processing_class=tiny.tokenizer(),
        reward_processing_classes=[tiny.tokenizer()] * len(rewards),
        **given,
        **extra,
    )
    trainer.train()
    return trainer


def _saved(model: Any, options: dict[str, Any]) -> Any:
    if not options.get("beta"):
        return model
    # With beta TRL loads the reference model from where the model came from.
    path = tiny.config().output_dir
    model.save_pretrained(path)
    return type(model).from_pretrained(path)


def _logged(trainer: Any) -> list[dict[str, Any]]:
    """What TRL logs, without ours and without times."""
    return [
        {key: value for key, value in line.items() if key not in OF_THE_CLOCK and "gdro/" not in key}
        for line in trainer.state.log_history
    ]


NEW = ("tools", "environment", "images", "continuous")  # names of cases that need new transformers


def _needs(case: str) -> Any:
    return agents.WITH_TOOLS if any(word in case for word in NEW) else ()


@pytest.mark.parametrize("case", [pytest.param(case, marks=_needs(case)) for case in TABLE])
def test_uniform_is_grpo_bit_for_bit(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "VLLMGeneration", FakeVLLM)
    plain = _train(GRPOTrainer, TABLE[case])
    ragged = []
    original = step.advantages
    monkeypatch.setattr(step, "advantages", lambda *a: ragged.append(a[1].num_groups) or original(*a))
    ours = _train(GDROTrainer, TABLE[case], strategy="uniform")
    assert ragged, "the ragged path must have run"
    assert torch.equal(tiny.weights(plain), tiny.weights(ours))
    assert _logged(plain) == _logged(ours)
    moved = any(line.get("grad_norm", 0.0) > 0.0 for line in ours.state.log_history)
    assert moved, "nothing was trained"


def test_shadow_mode_changes_nothing() -> None:
    plain = _train(GRPOTrainer, {})
    shadow = _train(GDROTrainer, {}, strategy="joint", apply=False)
    assert torch.equal(tiny.weights(plain), tiny.weights(shadow))
    assert shadow.controller.ledger.closed == 2


def test_adapter_knows_no_strategy() -> None:
    source = Path(adapter.__file__).read_text(encoding="utf-8")
    for name in ("Uniform", "PromptGDRO", "RolloutGDRO", ".unique(", "constant"):
        assert name not in source
