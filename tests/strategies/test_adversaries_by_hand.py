"""The strategies' formulas, checked against the equations written out in loops."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import helpers as h
from gdro import Outcome
from gdro.numerics.budget import greedy
from gdro.numerics.passk import utilities


def warmed(variant, steps=8, **options):
    c = h.controller(variant, prior=True, **options)
    h.warm(c, steps)
    return c


def weigh_by_prompt(c, **scoring):
    """A plan, its outcome, and one weight a prompt."""
    plan = c.plan(h.request(num_prompts=40))
    scored = h.score(plan, valid_R=np.ones(160, bool), **scoring)
    weight_R = c.weigh(scored.outcome).weight_R
    first = np.cumsum(plan.rollouts_P) - plan.rollouts_P
    return plan, scored, weight_R[first]


def omega(c, eta=4.0):
    return np.exp(eta * np.clip(c.strategy.by_bin(c._state)["score"], -10, 10))


def known(c, plan):
    return (plan.bin_P >= 0) & (c._state.updates_B[plan.bin_P] > 0)


@pytest.mark.parametrize("signal", ["failure", "reward"])
def test_mean_one_weights(signal):
    c = warmed(f"prompt-{signal}-ema-mean_one", 3)
    plan, _, weight_P = weigh_by_prompt(c)
    at = known(c, plan)
    assert at.any()
    assert (weight_P[~at] == 1.0).all()
    assert weight_P.mean() == pytest.approx(1.0)
    expected = omega(c)[plan.bin_P[at]]
    assert np.allclose(weight_P[at], expected / expected.mean())
    # Harder bins weigh more.
    assert np.corrcoef(weight_P[at], h.RATE_N[plan.prompt_P[at]])[0, 1] < -0.3


def test_mean_one_active_weights():
    c = warmed("prompt-failure-ema-mean_one_active")
    plan, scored, weight_P = weigh_by_prompt(c, plain=True)
    right = np.array([scored.outcome.correct_R[plan.prompt_R == p].mean() for p in plan.prompt_P])
    mixed = (right > 0) & (right < 1) & known(c, plan)
    assert 3 < mixed.sum() < 37
    assert (weight_P[~mixed] == 1.0).all()
    expected = omega(c)[plan.bin_P[mixed]]
    assert np.allclose(weight_P[mixed], expected / expected.mean())


def test_raw_weights_are_equation_16():
    c = warmed("prompt-failure-ema-raw")
    plan, _, weight_P = weigh_by_prompt(c)
    at = known(c, plan)
    expected = np.minimum(omega(c)[plan.bin_P[at]], 15.0)
    assert np.allclose(weight_P[at], expected)
    assert (expected == 15.0).any()
    assert (expected < 15.0).any()


def test_probability_weights_are_equation_15():
    c = warmed("prompt-failure-ema-probability")
    plan, _, weight_P = weigh_by_prompt(c)
    at = known(c, plan)
    present = np.unique(plan.bin_P[at])
    q = dict(zip(present, 0.99 * omega(c)[present] / omega(c)[present].sum(), strict=True))
    expected = [q[b] + 0.01 / len(present) for b in plan.bin_P[at]]
    assert np.allclose(weight_P[at], expected)


@pytest.mark.parametrize(
    ("variant", "beta"),
    [("prompt-failure-cumulative-raw", None), ("prompt-surrogate-ema-raw", 0.12)],
)
def test_scores(variant, beta):
    c = warmed(variant, 4)
    for _ in range(3):
        old, seen = c._state.score_B.copy(), c._state.updates_B.copy()
        plan, scored, _ = weigh_by_prompt(c)
        c.observe(scored.outcome, scored.loss_R)
        for b in np.unique(plan.bin_P[plan.bin_P >= 0]):
            rows = [plan.prompt_R == p for p in plan.prompt_P[plan.bin_P == b]]
            failure = np.mean([1 - scored.outcome.correct_R[r].mean() for r in rows])
            loss = np.mean([scored.loss_R[r].mean() for r in rows])
            expected = old[b] + failure if beta is None else (1 - beta) * old[b] + beta * loss
            if beta is not None and not seen[b]:
                expected = loss
            assert c._state.score_B[b] == pytest.approx(expected)
            assert c._state.updates_B[b] == seen[b] + 1


def test_share_divided_signal():
    c = h.controller("prompt-share", prior=True)
    plan = c.plan(h.request(num_prompts=40))
    outcome = h.score(plan, valid_R=np.ones(160, bool)).outcome
    c.observe(outcome)
    seen = plan.bin_P >= 0
    for b in np.unique(plan.bin_P[seen]):
        mine = plan.bin_P == b
        failure = np.mean(
            [1 - outcome.correct_R[plan.prompt_R == p].mean() for p in plan.prompt_P[mine]]
        )
        assert c._state.score_B[b] == pytest.approx(failure / (mine.sum() / seen.sum()))


def test_sleeping_adversary_warns_once():
    c = h.controller("prompt-surrogate-ema-mean_one", prior=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(30):
            plan = c.plan(h.request())
            c.observe(h.score(plan).outcome, np.full(64, 1e-4))
    assert len(caught) == 1
    assert "asleep" in str(caught[0].message)
    assert "signal='failure'" in str(caught[0].message)


def test_no_belief_no_adversary():
    """Before anything was scored every strategy acts as plain GRPO."""
    for variant in ("prompt-gdro", "rollout-gdro", "joint", "uniform"):
        c = h.controller(variant)
        plan = c.plan(h.request())
        assert plan.rollouts_P.tolist() == [4] * 16
        assert (h.close(c, plan) == 1.0).all()


def test_unseen_prompts_get_the_mean_budget():
    c = h.controller("rollout-gdro", prior=True)
    plan = c.plan(h.request(num_prompts=h.N))
    unseen = plan.bin_P < 0
    assert unseen.sum() == 30
    assert set(plan.rollouts_P[unseen]) == {4}
    assert len(set(plan.rollouts_P[~unseen])) > 2


@pytest.mark.parametrize("utility", ["discovery", "variance", "failure", "hit", "mixed"])
@pytest.mark.parametrize("per", ["prompt", "bin"])
def test_allocation_is_the_exact_optimum(utility, per):
    c = warmed(f"rollout-{utility}-{per}-True", 25)
    arms = np.arange(2, 13)
    plan = c.plan(h.request(num_prompts=40))
    seen = plan.bin_P >= 0
    assert seen.all()
    value = utilities(utility, *c.belief.posterior(plan.prompt_P), arms)
    if per == "bin":
        for b in np.unique(plan.bin_P):
            value[plan.bin_P == b] = value[plan.bin_P == b].mean(axis=0)
    best = greedy(value, 160, 2)
    rows = np.arange(40)
    assert value[rows, plan.rollouts_P - 2].sum() == pytest.approx(value[rows, best - 2].sum())
    if per == "bin":
        spread = [np.ptp(plan.rollouts_P[plan.bin_P == b]) for b in np.unique(plan.bin_P)]
        assert max(spread) <= 1
        assert sum(spread) <= 1


def test_discovery_spends_where_successes_are_rare_but_found():
    c = warmed("rollout-gdro", 25)
    plan = c.plan(h.request(num_prompts=h.N))
    rate = h.RATE_N[plan.prompt_P]
    hard, easy = (rate > 0.1) & (rate < 0.4), rate > 0.8
    assert plan.rollouts_P[hard].mean() > plan.rollouts_P[easy].mean() + 1


def test_bandit_scores_the_arms_that_were_played():
    c = warmed("rollout-exp3p-True", 6)
    old = c._state.score_BA.copy()
    plan = c.plan(h.request())
    scored = h.score(plan, valid_R=np.ones(64, bool))
    c.observe(scored.outcome)
    for b in range(10):
        mine = plan.bin_P == b
        played = set(plan.rollouts_P[mine])
        for a, n in enumerate(range(2, 13)):
            expected = old[b, a]
            if n in played:
                reward = [
                    scored.outcome.reward_R[plan.prompt_R == p].mean() for p in plan.prompt_P[mine]
                ]
                expected += 0.4 * (-np.mean(reward) - expected)
            assert c._state.score_BA[b, a] == pytest.approx(expected)
    assert not np.array_equal(old, c._state.score_BA)


def test_joint_parts_all_learn():
    c = warmed("joint", 6)
    state = c._state
    assert state.weigh.steps == 6
    assert state.weigh.updates_B.sum() > 0
    assert state.allocate.price > 0
    plan = c.plan(h.request())
    outcome = Outcome(plan.ticket, plan.prompt_R, np.zeros(64), np.zeros(64, bool))
    assert len(set(plan.rollouts_P)) > 1
    assert len(np.unique(c.weigh(outcome).weight_R)) > 1
