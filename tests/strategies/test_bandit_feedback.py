"""Prompt-GDRO's bandit scores: the probability of a bin is that of the draw, of all prompts."""

from __future__ import annotations

import numpy as np
import pytest

from gdro import Controller, Outcome, Problem, Request, make_strategy
from gdro.numerics.bandit import exp3p_steps

N = 400


def half_failing(score, **options):
    """A pool of which a quarter is in one bin, the rest unseen."""
    prior_N = np.where(np.arange(N) < 100, 0.5, np.nan)
    strategy = make_strategy("prompt-gdro", score=score, **options)
    return Controller(strategy, Problem([f"p{i}" for i in range(N)], prior_N=prior_N))


def outcome(plan):
    """Every other rollout right."""
    right_R = np.arange(len(plan.prompt_R)) % 2 == 0
    return Outcome(plan.ticket, plan.prompt_R, right_R.astype(float), right_R)


@pytest.mark.parametrize(("score", "expected"), [("exp3p", 0.5), ("tinf", -0.5)])
def test_unseen_prompts_do_not_bias_the_estimate(score, expected):
    """A plan with the pool's own share of a bin estimates the bin's signal as it is."""
    c = half_failing(score)
    plan = c.plan(Request(8, 32, np.array([0, 1, *range(200, 206)])))
    seen = plan.bin_P[0]
    c.observe(outcome(plan))
    bias = exp3p_steps(10, 1000)[2] / 0.25 if score == "exp3p" else 0.0
    assert c.strategy.by_bin(c._state)["score"][seen] == pytest.approx(expected + bias)
