"""Token-GDRO by hand: lengths, the limit, and Rollout-GDRO's plans where lengths do not matter."""

from __future__ import annotations

import numpy as np
import pytest

from gdro import Controller, Outcome, Problem, Request, StrategyError, make_strategy

EASY, HARD = 0.95, 0.1


def controller(strategy: str, num: int = 8) -> Controller:
    rates = np.array([EASY, HARD] * (num // 2))
    problem = Problem([f"p{i}" for i in range(num)], prior_N=rates)
    return Controller(make_strategy(strategy), problem, seed=0)


def step(controller: Controller, tokens_N: np.ndarray | None) -> np.ndarray:
    num = controller.problem.num_prompts
    plan = controller.plan(Request(num, 4 * num, np.arange(num)))
    right_R = np.arange(len(plan.prompt_R)) % 20 < np.where(plan.prompt_R % 2, 2, 19)
    tokens_R = None if tokens_N is None else tokens_N[plan.prompt_R]
    outcome = Outcome(plan.ticket, plan.prompt_R, right_R * 1.0, right_R, tokens_R=tokens_R)
    controller.weigh(outcome)
    controller.observe(outcome)
    return plan.rollouts_P


def test_hard_prompts_with_long_answers_get_what_the_tokens_allow() -> None:
    tokens_N = np.array([100, 900] * 4)
    priced, plain = controller("token-gdro"), controller("rollout-gdro")
    first = step(priced, tokens_N)
    assert np.array_equal(first, step(plain, tokens_N)), "no length is known before the first visit"
    assert first @ tokens_N > 1.3 * 4 * tokens_N.sum()
    for _ in range(3):
        rollouts_P = step(priced, tokens_N)
        assert rollouts_P.sum() == 32
        assert rollouts_P @ tokens_N <= 4 * tokens_N.sum()


def test_the_bill_says_how_far_off_the_tokens_were() -> None:
    tokens_N = np.array([100, 900] * 4)
    priced = controller("token-gdro")
    first = step(priced, tokens_N) @ tokens_N
    metrics = priced.metrics()
    # The lengths of the first visit were not expected: its plan was charged as it came back.
    assert metrics["gdro/tokens_expected"] == pytest.approx(first / (4 * tokens_N.sum()) - 1)
    assert metrics["gdro/tokens_generated"] == metrics["gdro/tokens_expected"]
    second = step(priced, tokens_N) @ tokens_N
    assert priced.metrics()["gdro/tokens_generated"] == pytest.approx(
        (first + second) / (8 * tokens_N.sum()) - 1
    )


@pytest.mark.parametrize("tokens_N", [None, np.full(8, 50)], ids=["not counted", "equal"])
def test_without_differences_plans_are_those_of_rollout_gdro(tokens_N: np.ndarray | None) -> None:
    ours, theirs = controller("token-gdro"), controller("rollout-gdro")
    for _ in range(4):
        assert np.array_equal(step(ours, tokens_N), step(theirs, tokens_N))


@pytest.mark.parametrize("options", [{"utility": "loss"}, {"length_ema": 0.0}, {"n_min": 1}])
def test_wrong_options_are_refused(options: dict) -> None:
    with pytest.raises(StrategyError, match="token-gdro"):
        make_strategy("token-gdro", **options)
