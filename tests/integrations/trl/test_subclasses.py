"""Subclasses: what they change arrives in the loss, or is refused with the way that works."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from trl import GRPOTrainer, SFTTrainer
from trl.experimental.async_grpo import AsyncGRPOTrainer

from gdro import OutcomeError
from gdro.errors import UnsupportedError
from gdro.integrations.trl import GDROMixin, GDROTrainer


class Halved(GRPOTrainer):
    """Halves advantages, as subclasses in the wild clip or shape them."""

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        output["advantages"] = output["advantages"] * 0.5
        return output


class Shifted(GRPOTrainer):
    """Gives every even row of the data a reward of its own."""

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        even = torch.tensor([row["parity"] == "even" for row in inputs])
        return torch.where(even.unsqueeze(1), torch.ones_like(rewards), rewards)


class Hidden(GRPOTrainer):
    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        raise AssertionError("never called")


def make(cls: type, **options: Any) -> Any:
    given = {"strategy": "uniform"} if issubclass(cls, GDROMixin) else {}
    return cls(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        args=tiny.config(max_steps=3, **options),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
        **given,
    )


def trained(cls: type, **options: Any) -> torch.Tensor:
    trainer = make(cls, **options)
    trainer.train()
    return tiny.weights(trainer)


class Adjusted(GDROTrainer):
    def adjust_advantages(self, advantages, outcome, weights):
        assert advantages.shape == outcome.prompt_R.shape == weights.weight_R.shape == (16,)
        return advantages * 0.5


class HalvedFirst(Halved, GDROTrainer): ...


@pytest.mark.parametrize("cls", [Adjusted, HalvedFirst])
def test_changed_advantages_reach_the_loss(cls: type) -> None:
    want = trained(Halved, optim="sgd")
    assert torch.equal(trained(cls, optim="sgd"), want)
    assert not torch.equal(trained(GDROTrainer, optim="sgd"), want)


@pytest.mark.parametrize("order", [(Shifted, GDROTrainer), (GDROMixin, Shifted)])
def test_changed_rewards_reach_the_loss_in_either_order(order: tuple[type, ...]) -> None:
    assert torch.equal(trained(type("Both", order, {})), trained(Shifted))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (
            (GDROMixin, Halved),
            r"Halved\._generate.*replaced.*adjust_advantages.*\(Halved, GDROTrainer\)",
        ),
        ((Hidden, GDROTrainer), r"Hidden\._generate.*hides.*call super.*\(GDROMixin, \.\.\.\)"),
    ],
)
def test_an_order_that_would_lose_work_is_refused(order: tuple[type, ...], words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        make(type("Both", order, {}))


def test_a_class_that_leaves_advantages_alone_may_say_so() -> None:
    class Watching(GRPOTrainer):
        keeps_advantages = True
        seen = 0

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            self.seen += len(inputs)
            return super()._generate_and_score_completions(inputs)

    trainer = make(type("Both", (GDROMixin, Watching), {}))
    trainer.train()
    assert trainer.seen == 3 * 16


def test_a_class_that_steps_over_the_plan_is_refused_before_it_trains() -> None:
    class Plain(GDROTrainer):
        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            return GRPOTrainer._generate_and_score_completions(self, inputs)

    trainer = make(Plain)
    with pytest.raises(UnsupportedError, match=r"Plain generated its rows without a plan.*super\(\)"):
        trainer.train()
    assert torch.equal(tiny.weights(trainer), tiny.weights_of(tiny.model()))


def test_advantages_may_be_changed_in_place() -> None:
    class InPlace(GDROTrainer):
        def adjust_advantages(self, advantages, outcome, weights):
            advantages *= 0.5
            return advantages

    assert torch.equal(trained(InPlace, optim="sgd"), trained(Halved, optim="sgd"))

    class Broken(GDROTrainer):
        def adjust_advantages(self, advantages, outcome, weights):
            advantages[0] = torch.nan
            return advantages

    with pytest.raises(OutcomeError, match=r"adjust_advantages returned shape .* 1 values that are not"):
        make(Broken).train()


def test_a_hook_that_returns_nothing_is_told() -> None:
    class Forgot(GDROTrainer):
        def adjust_advantages(self, advantages, outcome, weights):
            advantages *= 0.5

    with pytest.raises(OutcomeError, match=r"returned None; .*a tensor of shape \(16,\)"):
        make(Forgot).train()


@pytest.mark.parametrize("wrong", [lambda a: a[:-1], lambda a: a / 0])
def test_what_the_hook_returns_is_checked(wrong: Any) -> None:
    class Wrong(GDROTrainer):
        def adjust_advantages(self, advantages, outcome, weights):
            return wrong(advantages)

    with pytest.raises(OutcomeError, match=r"adjust_advantages returned shape .* shape \(16,\)"):
        make(Wrong).train()


def test_the_mixin_alone_is_no_trainer() -> None:
    cls: Any = type("Mine", (GDROMixin,), {})
    with pytest.raises(UnsupportedError, match=r"^Mine has no .* before GRPOTr"):
        cls(model="never-loaded", args=None, train_dataset=tiny.dataset())


@pytest.mark.parametrize("trainer", [AsyncGRPOTrainer, SFTTrainer])
def test_a_trainer_that_generates_elsewhere_is_refused(trainer: type) -> None:
    """It would train without a plan, and without a word."""
    cls: Any = type("Mine", (GDROMixin, trainer), {})
    with pytest.raises(UnsupportedError, match=rf"^{trainer.__name__} has no .* before GRPOTr"):
        cls(model="never-loaded", args=None, train_dataset=tiny.dataset())
