"""The price of a rollout: its fixed point is the marginal utility at the exact budget."""

from __future__ import annotations

import numpy as np
import pytest

import helpers as h
from gdro.numerics.budget import greedy
from gdro.numerics.passk import utilities
from gdro.numerics.price import ascend, demand, demand_curve, stationary_price

ARMS = np.arange(2, 13)
RNG = np.random.default_rng(0)
COUNTS = np.array([5, 9, 30, 12, 4])
SHARE = COUNTS / COUNTS.sum()
N_BAR = 4


def values(kind="discovery"):
    return utilities(kind, np.array([0.2, 0.9, 3, 5, 9.0]), np.array([9.0, 6, 4, 2, 0.5]), ARMS)


def margins(value, total):
    """What the last rollout was worth and what the next would be."""
    steps = greedy(value, total, 2, COUNTS) - 2 * COUNTS
    gain = np.diff(value, axis=1)
    bought = np.sort(np.repeat(gain.ravel(), np.repeat(COUNTS, gain.shape[1])))[::-1]
    return bought[steps.sum() - 1], bought[steps.sum()]


def test_demand_by_hand():
    value = np.array([[0.0, 1.0, 1.5], [0.0, 0.2, 0.3]])
    arms, share = np.array([2, 3, 4]), np.array([0.25, 0.75])
    assert demand(value, share, arms, 0.0) == 4.0
    assert demand(value, share, arms, 0.15) == pytest.approx(0.25 * 4 + 0.75 * 3)
    assert demand(value, share, arms, 9.0) == 2.0
    # At a tie both arms are wanted equally.
    assert demand(value[:1], np.ones(1), arms, 0.5) == 3.5


def test_demand_falls_with_the_price():
    prices = np.linspace(0, 0.3, 200)
    wanted = demand_curve(values(), SHARE, ARMS, prices)
    assert wanted.tolist() == [demand(values(), SHARE, ARMS, mu) for mu in prices]
    assert (np.diff(wanted) <= 1e-12).all()
    assert wanted[0] == pytest.approx(12.0)
    assert wanted[-1] == pytest.approx(2.0)


def test_ascend():
    assert ascend(0.5, 2.0, 0.1) == pytest.approx(0.7)
    assert ascend(0.5, -2.0, 0.1) == pytest.approx(0.3)
    assert ascend(0.1, -2.0, 0.1) == 0.0


@pytest.mark.parametrize("kind", ["discovery", "variance", "hit", "mixed", "failure"])
def test_stationary_price_is_the_marginal_utility_of_the_exact_budget(kind):
    value = values(kind)
    for mean in np.linspace(2.2, 11.8, 25):
        total = round(mean * COUNTS.sum())
        last, following = margins(value, total)
        mu = stationary_price(value, SHARE, ARMS, total / COUNTS.sum())
        assert following * (1 - 1e-9) <= mu <= last * (1 + 1e-9)


def test_stationary_price_where_the_budget_does_not_bind_or_binds_hard():
    assert stationary_price(values(), SHARE, ARMS, 12.0) == 0.0
    # At the smallest budget nobody buys a second step: the price is the dearest of them.
    assert stationary_price(values(), SHARE, ARMS, 2.0) == pytest.approx(
        np.diff(values(), axis=1).max(), rel=1e-9
    )


def descend(value, steps, scale):
    """Textbook dual ascent with steps scale / sqrt(t); mean price and mean demand so far."""
    mu, prices, wants = 0.0, [], []
    for t in range(1, steps + 1):
        wanted = demand(value, SHARE, ARMS, mu)
        prices.append(mu)
        wants.append(wanted)
        mu = ascend(mu, wanted - N_BAR, scale / np.sqrt(t))
    count = np.arange(1, steps + 1)
    return np.array(prices), np.cumsum(prices) / count, np.cumsum(wants) / count


@pytest.mark.parametrize("kind", ["discovery", "variance", "hit", "mixed"])
def test_fixed_point_is_the_marginal_utility(kind):
    value = values(kind)
    last, following = margins(value, N_BAR * int(COUNTS.sum()))
    prices, mean_price, mean_want = descend(value, 4000, 0.2 * last)
    late = prices[2000:].mean()
    assert following * 0.97 <= late <= last * 1.03
    assert mean_want[-1] == pytest.approx(N_BAR, abs=0.1)
    assert mean_price[-1] == pytest.approx(late, rel=0.1)


def test_violation_and_gap_fall_like_the_theory_says():
    """Log-log slopes of at most -.45 for the mean violation and the dual gap."""
    value = values("discovery")

    def dual(mu):
        return SHARE @ (value - mu * ARMS).max(axis=1) + mu * N_BAR

    _, mean_price, mean_want = descend(value, 10_000, 0.01)
    grid = np.linspace(0, 0.2, 20001)
    lowest = min(dual(mu) for mu in grid)
    at = np.unique(np.geomspace(100, 10_000, 40).astype(int)) - 1
    violation = np.abs(mean_want[at] - N_BAR)
    gap = np.array([dual(mu) for mu in mean_price[at]]) - lowest
    assert gap.min() > -1e-6
    for fall in (violation, np.maximum(gap, 1e-9)):
        assert np.polyfit(np.log(at + 1), np.log(fall), 1)[0] <= -0.45


def test_flipped_sign_does_not_converge():
    value = values()
    mu = 0.05
    for t in range(1, 500):
        mu = ascend(mu, N_BAR - demand(value, SHARE, ARMS, mu), 0.01 / np.sqrt(t))
    last, following = margins(value, N_BAR * int(COUNTS.sum()))
    assert not following * 0.5 <= mu <= last * 2


@pytest.mark.parametrize("variant", ["rollout-gdro", "rollout-variance-prompt-True"])
def test_the_price_of_a_run_moves_and_settles_at_the_marginal_utility(variant):
    c = h.controller(variant)
    prices, last, following = [], [], []
    for _ in range(150):
        plan = c.plan(h.request(num_prompts=h.N))
        seen = plan.bin_P >= 0
        if seen.all():
            alpha, beta = c.belief.posterior(plan.prompt_P)
            gain = np.diff(utilities(c.strategy.utility, alpha, beta, ARMS), axis=1)
            bought = np.sort(gain.ravel())[::-1]
            last.append(bought[2 * h.N - 1])
            following.append(bought[2 * h.N])
        h.close(c, plan)
        prices.append(c.metrics()["gdro/price"])
    assert len(set(prices)) > 100
    settled = np.mean(prices[75:])
    assert settled == pytest.approx(np.mean(last[75:] + following[75:]), rel=0.25)


def test_the_price_of_the_bandit_moves():
    c = h.controller("rollout-exp3p-True")
    h.warm(c, 20)
    assert c.metrics()["gdro/price"] != 0.0
    assert c.metrics()["gdro/demand"] > 0.0
