"""With utility=variance the solver gives the square-root law (Theorem 4.2)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.numerics.budget import choose_arms, greedy
from gdro.numerics.passk import utilities

LOW, HIGH = 2, 12
ARMS = np.arange(LOW, HIGH + 1)


def law(deviation, share, n_bar):
    """n_b = n_bar sigma_b / sum q sigma, clipped to the box, the budget kept by bisection on mu."""
    low, high = 1e-12, 1e12
    for _ in range(300):
        mu = np.sqrt(low * high)
        n = np.clip(deviation / np.sqrt(mu), LOW, HIGH)
        low, high = (mu, high) if share @ n > n_bar else (low, mu)
    return n


def wse(deviation, share, n):
    return share @ (deviation / np.sqrt(n))


def test_unconstrained_law_is_the_closed_form():
    deviation, share = np.array([0.5, 0.45, 0.4]), np.array([0.2, 0.3, 0.5])
    n = law(deviation, share, 5.0)
    assert np.allclose(n, 5.0 * deviation / (share @ deviation), rtol=1e-9)


@given(st.integers(0, 10**6), st.integers(2, 200), st.integers(2, 12))
def test_prompts_get_the_law_rounded(seed, num, n_bar):
    rng = np.random.default_rng(seed)
    rate = rng.uniform(0.001, 0.999, num)
    values = utilities("variance", 1e7 * rate, 1e7 * (1 - rate), ARMS)
    got = greedy(values, n_bar * num, LOW)
    deviation, share = np.sqrt(rate * (1 - rate)), np.full(num, 1 / num)
    assert np.abs(got - law(deviation, share, n_bar)).max() < 1 + 1e-6
    uniform = np.full(num, float(n_bar))
    assert wse(deviation, share, got) <= 1.02 * wse(deviation, share, uniform)
    assert wse(deviation, share, law(deviation, share, n_bar)) <= wse(deviation, share, uniform) * (
        1 + 1e-9
    )


@given(st.integers(0, 10**6), st.integers(2, 10), st.integers(2, 12))
def test_bins_get_the_law_rounded(seed, num, n_bar):
    rng = np.random.default_rng(seed)
    rate, counts = rng.uniform(0.001, 0.999, num), rng.integers(1, 100, num)
    values = utilities("variance", 1e7 * rate, 1e7 * (1 - rate), ARMS)
    total = n_bar * int(counts.sum())
    deviation, share = np.sqrt(rate * (1 - rate)), counts / counts.sum()
    expected = law(deviation, share, n_bar)
    uniform = np.full(num, float(n_bar))
    split = greedy(values, total, LOW, counts) / counts
    assert np.abs(split - expected).max() < 1 + 1e-6
    assert wse(deviation, share, split) <= 1.02 * wse(deviation, share, uniform)
    whole = choose_arms(values, counts, total, LOW, split=False) / counts
    assert np.dot(share, deviation**2 / whole) <= np.dot(share, deviation**2 / uniform) + 1e-12


def test_uniform_variance_gives_uniform_rollouts():
    values = utilities("variance", np.full(7, 3.0), np.full(7, 5.0), ARMS)
    assert greedy(values, 28, LOW).tolist() == [4] * 7


def test_law_is_worth_it_on_a_heavy_tail():
    rate = np.concatenate([np.full(50, 0.001), np.full(14, 0.5)])
    values = utilities("variance", 1e6 * rate, 1e6 * (1 - rate), ARMS)
    got = greedy(values, 256, LOW)
    assert set(got[:50]) == {2}
    deviation, share = np.sqrt(rate * (1 - rate)), np.full(64, 1 / 64)
    assert wse(deviation, share, got) < 0.8 * wse(deviation, share, np.full(64, 4.0))
    assert np.average(got[50:]) == pytest.approx((256 - 100) / 14)
