"""Advantages of strategies that multiply centred rewards are theirs under every scaling of TRL."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gdro import Controller, Outcome, Problem, Request, make_strategy
from gdro.errors import UnsupportedError
from gdro.integrations.trl.checks import check_scale
from gdro.integrations.trl.step import TrlStep


def scored(name: str, scale: str) -> np.ndarray:
    """Advantages of a step with 1, 3, 0 and 4 right of four, two a group."""
    c = Controller(make_strategy(name), Problem([f"k{i}" for i in range(4)]))
    plan = c.plan(Request(4, 16, np.arange(4)))
    reward_R = np.concatenate([np.arange(4) < right for right in (1, 3, 0, 4)]) * 1.0
    outcome = Outcome(plan.ticket, plan.prompt_R, reward_R, reward_R > 0)
    trainer = SimpleNamespace(
        controller=c,
        reward_weights=torch.ones(1, dtype=torch.float64),
        scale_rewards=scale,
        multi_objective_aggregation="sum_then_normalize",
        prompt_equal=False,
        adjust_advantages=lambda advantage_R, *_: advantage_R,
    )
    rewards_RK = torch.tensor(reward_R).unsqueeze(1)
    step = TrlStep(plan, outcome, rewards_RK, [], c.weigh(outcome), trainer)
    return step.score().advantage_R.numpy()


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize(
    ("name", "quarter", "most"),
    [
        ("maxrl", [3, -1, -1, -1], [1 / 3, 1 / 3, 1 / 3, -1]),
        # f/F of the step's own rates, 1/4 and 3/4: 1 and 1/2.
        ("curverl", [0.75, -0.25, -0.25, -0.25], [0.125, 0.125, 0.125, -0.375]),
    ],
)
def test_the_product_is_the_paper_s_advantage(name, scale, quarter, most) -> None:
    assert scored(name, scale) == pytest.approx([*quarter, *most, *[0.0] * 8], abs=1e-9)


def test_other_strategies_keep_the_trainer_s_scaling() -> None:
    group, none = scored("uniform", "group"), scored("uniform", "none")
    assert none[:4] == pytest.approx([0.75, -0.25, -0.25, -0.25], abs=1e-9)
    assert group[0] == pytest.approx(0.75 / (0.5 + 1e-4), abs=1e-6)  # TRL rounds its deviation


def test_rewards_that_are_scaled_one_by_one_are_refused() -> None:
    trainer = SimpleNamespace(multi_objective_aggregation="normalize_then_sum")
    with pytest.raises(UnsupportedError, match="multi_objective_aggregation='sum_then_normalize'"):
        check_scale(trainer, make_strategy("rollout-gdro + maxrl"))
    check_scale(trainer, make_strategy("rollout-gdro"))
    trainer.multi_objective_aggregation = "sum_then_normalize"
    check_scale(trainer, make_strategy("maxrl"))
