"""Prompt-GDRO's bandit scores: the probability of a bin is that of the draw, of all prompts."""

from __future__ import annotations

import numpy as np
import pytest

import helpers as h
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


def late(tmp_path):
    """A plan, what the draw's probabilities were, and a controller that closed thirty others since."""
    c = h.Controller(
        h.make_strategy("prompt-gdro", mode="resample", score="tinf"), h.problem(prior=True)
    )
    h.warm(c, 3)
    drawn_B = c.strategy.mass(c._state, c.belief)
    plan = c.plan(h.request())
    h.warm(c, 30)
    c.save(tmp_path / "state.npz")
    return c, plan, drawn_B


def test_a_plan_closed_late_counts_as_it_was_drawn(tmp_path):
    c, plan, drawn_B = late(tmp_path)
    assert np.abs(c.strategy.mass(c._state, c.belief) - drawn_B).max() > 0.05
    before_B, num_bins = c._state.score_B, len(drawn_B)
    resumed = h.Controller(c.strategy, h.problem(prior=True))
    resumed.load(tmp_path / "state.npz")
    for one in (c, resumed):
        scored = h.score(plan, valid_R=np.ones(64, bool))
        one.observe(scored.outcome)
    right_P = scored.outcome.correct_R.reshape(16, 4).mean(axis=1)
    for b in range(num_bins):
        # Loss: the success rate. Share of the plan times it, over the probability of the draw.
        estimate = right_P[plan.bin_P == b].sum() / 16 / drawn_B[b] if drawn_B[b] else 0.0
        assert c._state.score_B[b] - before_B[b] == pytest.approx(-estimate)
    assert c.digest() == resumed.digest()


def test_fresh_prompts_of_an_extension_were_not_drawn_by_the_adversary():
    text = "prompt-gdro(mode=resample, score=tinf) + dapo"
    c = h.Controller(h.make_strategy(text), h.problem(prior=True))
    plan, before_B = c.plan(h.request()), c._state.weigh.score_B
    scored = h.score(plan, valid_R=np.ones(64, bool), plain=True).outcome
    right_P = scored.correct_R.reshape(16, 4).mean(axis=1)
    while (more := c.extend(scored)) is not None:
        right_R = np.ones(len(more.prompt_R), bool)
        scored = scored.joined(
            Outcome(plan.ticket, more.prompt_R, right_R * 1.0, right_R, tokens_R=right_R * 5)
        )
    assert len(scored.prompt_R) > 64
    c.observe(scored)
    got_B = np.bincount(plan.bin_P[plan.bin_P >= 0], right_P[plan.bin_P >= 0], len(before_B))
    drawn_B = np.where(plan.mass_B > 0, plan.mass_B, 1.0)
    assert c._state.weigh.score_B - before_B == pytest.approx(-got_B / 16 / drawn_B)
