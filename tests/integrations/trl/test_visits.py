"""A run that visits each prompt once: what a strategy can do there is said, and what helps does help."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from trl import GRPOTrainer

from gdro import Controller, Difficulty, Problem, list_strategies, make_strategy
from gdro.integrations.trl import GDROTrainer
from gdro.integrations.trl.visits import expected_visits, warn_of_few_visits
from gdro.report.load import load_runs
from gdro.report.verdicts import verdicts

FEW = ".*is visited about"
ONCE: dict[str, Any] = {"max_steps": -1, "num_train_epochs": 1}


def make(strategy: str, **given: Any) -> GDROTrainer:
    own = {k: given.pop(k) for k in ("difficulty", "prior_column", "apply") if k in given}
    data = tiny.dataset().map(lambda row: {"known": [0.1, 0.9][int(row["answer"]) % 2]})
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        args=tiny.config(**ONCE | given),
        train_dataset=data,
        processing_class=tiny.tokenizer(),
        strategy=strategy,
        **own,
    )


def quiet(strategy: str, **given: Any) -> GDROTrainer:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=FEW)
        return make(strategy, **given)


def said(trainer: GDROTrainer) -> list[str]:
    """The report's verdicts on the run."""
    return [verdict.words for verdict in verdicts(load_runs([Path(trainer.args.output_dir)])[0])]


@pytest.fixture(scope="module")
def grpo() -> torch.Tensor:
    trainer = GRPOTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        args=tiny.config(**ONCE),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
    )
    trainer.train()
    return tiny.weights(trainer)


@pytest.mark.parametrize("strategy", ["rollout-gdro", "prompt-gdro", "joint", "hora", "knapsack"])
def test_one_epoch_is_grpo_and_a_warning_says_so(
    strategy: str, grpo: torch.Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(UserWarning, match="about once in.*it does nothing, and this run is GRPO") as told:
        ours = make(strategy)
    assert len([w for w in told if "is visited about" in str(w.message)]) == 1
    assert ("prior_column" in str(told[-1].message)) == (strategy != "hora")
    assert "24 prompts, 4 a step, about 1 visit each" in capsys.readouterr().err
    ours.train()
    assert torch.equal(tiny.weights(ours), grpo)
    assert any("identical to GRPO" in words for words in said(ours))


HELPS: list[dict[str, Any]] = [
    {"prior_column": "known"},
    {"difficulty": Difficulty(bins="column", column="parity")},
]


@pytest.mark.parametrize("helps", HELPS, ids=["prior", "column"])
@pytest.mark.parametrize("strategy", ["rollout-gdro", "prompt-gdro", "knapsack"])
def test_what_the_warning_recommends_acts_in_one_epoch(
    strategy: str, helps: dict[str, Any], grpo: torch.Tensor
) -> None:
    ours = quiet(strategy, **helps)
    ours.train()
    assert not torch.equal(tiny.weights(ours), grpo)
    assert not any("identical to GRPO" in words for words in said(ours))


def test_no_warning_where_nothing_waits_or_visits_are_many() -> None:
    quiet("uniform")
    quiet("mopps + rollout-gdro")
    quiet("daro")
    quiet("rollout-gdro", apply=False)
    quiet("rollout-gdro", num_train_epochs=2)


ONE: dict[str, Any] = {"num_generations": 16, "num_train_epochs": 1}


@pytest.fixture(scope="module")
def one_prompt() -> torch.Tensor:
    trainer = GRPOTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        args=tiny.config(**ONCE | ONE),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
    )
    trainer.train()
    return tiny.weights(trainer)


@pytest.mark.parametrize(
    "strategy",
    ["rollout-gdro(n_max=48)", "prompt-gdro", "hora", "knapsack", "random-rollouts(n_max=48)"],
)
def test_one_prompt_a_step_is_grpo_and_a_warning_says_so(
    strategy: str, one_prompt: torch.Tensor
) -> None:
    """Known pass rates, so that only the lack of other prompts stops it."""
    words = r"a step takes one prompt \(generation_batch_size 16, num_gen.*nothing, and this run is GRPO"
    with pytest.warns(UserWarning, match=words):
        ours = make(strategy, prior_column="known", **ONE)
    ours.train()
    assert torch.equal(tiny.weights(ours), one_prompt)
    assert any("identical to GRPO" in words for words in said(ours))


def test_no_warning_of_one_prompt_where_the_strategy_acts_on_prompts_alone() -> None:
    given: dict[str, Any] = {"prior_column": "known", **ONE}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="a step takes one prompt")
        for strategy in ("uniform", "mopps", "daro", "memory", "prompt-gdro(normalise=raw)"):
            make(strategy, **given)
        make("rollout-gdro(n_max=48)", apply=False, **given)
        make("rollout-gdro", prior_column="known", num_generations=8)
    with pytest.warns(UserWarning, match=r"rollout-gdro moves rollouts .*: it does nothing\. Raise"):
        make("rollout-gdro(n_max=48) + daro", **given)


def test_another_part_that_acts_is_not_called_grpo() -> None:
    controller = Controller(make_strategy("rollout-gdro + daro"), Problem(["a", "b"]))
    with pytest.warns(UserWarning, match=r"rollout-gdro acts on .*: it does nothing\. To"):
        warn_of_few_visits(controller, 1.0)


def test_half_a_second_visit_is_said_as_a_share() -> None:
    controller = Controller(make_strategy("rollout-gdro"), Problem(["a", "b"]))
    with pytest.warns(UserWarning, match="about 1.5 times.*it acts on some 33% of them"):
        warn_of_few_visits(controller, 1.5)


@pytest.mark.parametrize(
    ("given", "visits"),
    [
        ({"num_train_epochs": 3}, 3 * 24 / 24),
        ({"num_train_epochs": 3, "rows": 26}, 3 * 24 / 26),  # two rows are left out
        ({"num_train_epochs": 0.5}, 0.5),
        ({"max_steps": 12}, 2.0),
        ({"max_steps": 12, "num_iterations": 2}, 1.0),
        ({"max_steps": 12, "steps_per_generation": 4, "gradient_accumulation_steps": 2}, 1.0),
        ({"max_steps": 1, "steps_per_generation": 4}, 1 / 6),
    ],
)
def test_visits_are_counted_from_steps_epochs_and_batches(given: dict[str, Any], visits: float) -> None:
    base = {
        "max_steps": -1,
        "generation_batch_size": 16,
        "num_generations": 4,
        "num_iterations": 1,
        "steps_per_generation": 1,
        "gradient_accumulation_steps": 1,
    }
    rows = given.pop("rows", 24)
    assert expected_visits(SimpleNamespace(**base | given), rows, rows) == pytest.approx(visits)


def test_every_strategy_says_what_it_waits_for() -> None:
    ours = (
        kind
        for kind in map(make_strategy, list_strategies())
        if type(kind).__module__.startswith("gdro.")
    )
    waiting = {strategy.name for strategy in ours if strategy.waits_for}
    assert waiting == {
        "rollout-gdro",
        "prompt-gdro",
        "placebo-weights",
        "knapsack",
        "hora",
        "bbg",
        "token-gdro",
    }
