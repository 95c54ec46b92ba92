"""Regret bounds of Hedge, EXP3.P and TINF, the policies themselves, and mutants that must fail."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gdro.numerics.bandit import exp3p_steps, hedge_step, importance_estimate, tinf_policy, tinf_step
from gdro.numerics.simplex import mix, softmax

BINS, STEPS, DELTA, RUNS = 3, 3000, 0.05, 40
ETA, GAMMA, BIAS = exp3p_steps(BINS, STEPS, DELTA)
EXP3P_BOUND = 5.15 * np.sqrt(STEPS * BINS * np.log(BINS / DELTA))
TINF_BOUND = 4.0 * np.sqrt(BINS * STEPS) + 1.0


def exp3p(score, _):
    return mix(softmax(ETA * score), GAMMA)


def tinf(score, t):
    return tinf_policy(-score, tinf_step(t))


def gain_estimate(gain, share, q):
    return importance_estimate(gain, share, q, BIAS)


def loss_estimate(gain, share, q):
    return -importance_estimate(1.0 - gain, share, q)


def gap():
    """One bin is better by .7."""
    return np.tile(0.7 * (np.arange(BINS) == 2), (STEPS, 1))


def switch():
    """Bin 0 is best for a quarter of the time, then bin 1."""
    early = np.arange(STEPS)[:, None] < STEPS // 4
    return np.where(early, np.arange(BINS) == 0, np.arange(BINS) == 1).astype(float)


def noise():
    """Bernoulli gains, the best bin by .1."""
    rate = np.where(np.arange(BINS) == 2, 0.6, 0.5)
    return (np.random.default_rng(5).random((STEPS, BINS)) < rate).astype(float)


def worst():
    """No table: gain everywhere but at the bin that the policy likes best."""
    return None


WORLDS = [gap, switch, noise, worst]


def regrets(policy, estimate, world):
    """Regret against the best bin of many runs in which a step shows the gain of one drawn bin."""
    table, rng, runs = world(), np.random.default_rng(1), np.arange(RUNS)
    score, got, offered = np.zeros((RUNS, BINS)), np.zeros(RUNS), np.zeros((RUNS, BINS))
    for t in range(STEPS):
        q = policy(score, t + 1)
        if table is None:
            gain = (np.arange(BINS) != q.argmax(axis=1)[:, None]).astype(float)
        else:
            gain = np.broadcast_to(table[t], (RUNS, BINS))
        drawn = (np.cumsum(q, axis=1) < rng.random((RUNS, 1))).sum(axis=1).clip(max=BINS - 1)
        share = np.eye(BINS)[drawn]
        score = score + estimate(gain * share, share, q)
        got += gain[runs, drawn]
        offered += gain
    return offered.max(axis=1) - got


@pytest.mark.parametrize("world", WORLDS)
def test_exp3p_keeps_its_bound_with_high_probability(world):
    assert (regrets(exp3p, gain_estimate, world) <= EXP3P_BOUND).mean() >= 1 - DELTA


@pytest.mark.parametrize("world", WORLDS)
def test_tinf_keeps_its_bound_in_expectation(world):
    assert regrets(tinf, loss_estimate, world).mean() <= TINF_BOUND


MUTANTS = {
    "no importance weight": (exp3p, lambda g, s, q: g * s, EXP3P_BOUND),
    "sign flipped": (lambda s, t: exp3p(-s, t), gain_estimate, EXP3P_BOUND),
    "eta x 100, no bias": (
        lambda s, t: mix(softmax(100 * ETA * s), GAMMA / 100),
        lambda g, s, q: importance_estimate(g, s, q),
        EXP3P_BOUND,
    ),
    "tinf, no importance weight": (tinf, lambda g, s, q: -(1.0 - g) * s, TINF_BOUND),
    "tinf, sign flipped": (lambda s, t: tinf(-s, t), loss_estimate, TINF_BOUND),
    "tinf, eta x 100": (lambda s, t: tinf_policy(-s, 100 * tinf_step(t)), loss_estimate, TINF_BOUND),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_break_a_bound(name):
    policy, estimate, bound = MUTANTS[name]
    assert any(regrets(policy, estimate, world).mean() > bound for world in WORLDS)


@given(st.integers(0, 10**6), st.floats(0.0, 0.3))
def test_estimate_is_unbiased_but_for_the_bias(seed, bias):
    rng = np.random.default_rng(seed)
    probability, gain = rng.dirichlet(np.ones(4)) + 1e-3, rng.random(4)
    probability /= probability.sum()
    # The expectation over which bin is drawn, exactly.
    drawn = np.eye(4)
    mean = sum(
        p * importance_estimate(gain * d, d, probability, bias)
        for p, d in zip(probability, drawn, strict=True)
    )
    assert np.allclose(mean, gain + bias / probability)


def test_impossible_bins_are_not_estimated():
    share, probability = np.array([0.5, 0.5, 0.0]), np.array([0.4, 0.6, 0.0])
    estimate = importance_estimate(np.array([1.0, 0.2, np.nan]), share, probability, 0.1)
    assert np.allclose(estimate, [0.6 / 0.4, 0.2 / 0.6, 0.0])


@given(arrays(float, st.integers(1, 20), elements=st.floats(-1e6, 1e6)), st.floats(1e-4, 10))
def test_tinf_policy_is_the_ftrl_solution(loss, eta):
    q = tinf_policy(loss, eta)
    assert q.sum() == pytest.approx(1.0, abs=1e-12)
    assert (q > 0).all()
    # Stationarity of <q, L> - (4 / eta) sum sqrt(q): L_b - 2 / (eta sqrt(q_b)) is one constant.
    level = loss - 2.0 / (eta * np.sqrt(q))
    assert np.allclose(level, level[0], rtol=1e-6, atol=1e-6 * max(1.0, 1.0 / eta))
    assert q[np.argmin(loss)] == q.max()


def test_step_sizes_by_hand():
    assert hedge_step(4, 200) == pytest.approx(np.sqrt(8 * np.log(4) / 200))
    eta, gamma, bias = exp3p_steps(4, 200, 0.1)
    assert eta == pytest.approx(0.95 * np.sqrt(np.log(4) / 800))
    assert gamma == pytest.approx(1.05 * np.sqrt(4 * np.log(4) / 200))
    assert bias == pytest.approx(np.sqrt(np.log(40) / 800))
    assert tinf_step(16) == 0.5
