"""pass@k against enumeration, mpmath, and quadrature."""

from __future__ import annotations

from itertools import combinations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.numerics.passk import UTILITIES, miss_curve, passk_posterior, passk_unbiased, utilities

mpmath.mp.dps = 60
ARMS = np.arange(2, 13)
PAIRS = [(0.5, 0.5), (1.0, 1.0), (0.05, 9.0), (3.2, 0.4), (20.0, 80.0), (0.95, 0.05)]


@pytest.mark.parametrize("n", range(1, 9))
def test_unbiased_is_the_share_of_subsets_with_a_success(n):
    for s in range(n + 1):
        right = [True] * s + [False] * (n - s)
        for k in range(1, n + 1):
            hits = [any(subset) for subset in combinations(right, k)]
            assert passk_unbiased(s, n, k) == pytest.approx(np.mean(hits), abs=1e-14)


@given(st.integers(1, 8), st.data())
def test_unbiased_has_the_right_mean(k, data):
    n = data.draw(st.integers(k, 30))
    p = data.draw(st.floats(0, 1))
    s = np.arange(n + 1)
    mass = [float(mpmath.binomial(n, int(i))) * p**i * (1 - p) ** (n - i) for i in s]
    mean = float(np.dot(mass, passk_unbiased(s, np.full(n + 1, n), k)))
    assert mean == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def exact_miss(alpha, beta, k):
    alpha, beta = mpmath.mpf(alpha), mpmath.mpf(beta)
    return mpmath.beta(alpha, beta + k) / mpmath.beta(alpha, beta)


def posterior(alpha, beta, k):
    return float(1 - exact_miss(alpha, beta, k))


@given(
    st.floats(0.05, 1e6),
    st.floats(0.05, 1e6),
    st.integers(1, 64),
    st.sampled_from([1.0, 1e-3, 1e3]),
)
def test_posterior_against_mpmath(alpha, beta, k, scale):
    alpha = max(alpha * scale, 0.05)
    exact = posterior(alpha, beta, k)
    assert miss_curve(alpha, beta, k)[k] == pytest.approx(float(exact_miss(alpha, beta, k)), 1e-12)
    assert passk_posterior(alpha, beta, k) == pytest.approx(exact, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("alpha", [0.5, 30.5, 5e5, 1e6 - 0.5])
@pytest.mark.parametrize("k", [1, 8, 32])
def test_posterior_at_counts_of_a_million(alpha, k):
    beta = 1e6 + 1 - alpha
    assert passk_posterior(alpha, beta, k) == pytest.approx(posterior(alpha, beta, k), rel=1e-9)


def test_posterior_keeps_the_shape():
    ones = np.ones((2, 3))
    assert passk_posterior(ones, ones, 4).shape == (2, 3)
    assert miss_curve(ones, ones, 4).shape == (2, 3, 5)
    assert np.array_equal(miss_curve(ones, ones, 4)[..., 0], ones)


INTEGRANDS = {
    "discovery": lambda p, n: (1 - p) * (1 - (1 - p) ** n),
    "mixed": lambda p, n: 1 - p**n - (1 - p) ** n,
    "hit": lambda p, n: 1 - (1 - p) ** n,
    "variance": lambda p, n: -p * (1 - p) / n,
    "failure": lambda p, n: (mpmath.mpf("1.05") - p) * mpmath.log(n),
}


@pytest.mark.parametrize("kind", UTILITIES)
@pytest.mark.parametrize(("alpha", "beta"), [(1.5, 1.0), (3.2, 1.4), (2.0, 8.0)])
def test_utility_is_the_expectation_under_the_posterior(kind, alpha, beta):
    with mpmath.workdps(20):
        norm = mpmath.beta(alpha, beta)
        value = utilities(kind, np.array([alpha]), np.array([beta]), ARMS)[0]
        for n in (2, 5, 12):
            integral = mpmath.quad(
                lambda p, n=n: INTEGRANDS[kind](p, n) * p ** (alpha - 1) * (1 - p) ** (beta - 1),
                [0, 0.1, 0.5, 0.9, 1],
            )
            assert value[n - 2] == pytest.approx(float(integral / norm), abs=1e-7)


@pytest.mark.parametrize("kind", UTILITIES)
@pytest.mark.parametrize(("alpha", "beta"), PAIRS)
def test_utility_against_monte_carlo(kind, alpha, beta):
    rng = np.random.default_rng(0)
    p = rng.beta(alpha, beta, 200_000)
    integrand = INTEGRANDS[kind] if kind != "failure" else lambda p, n: (1.05 - p) * np.log(n)
    value = utilities(kind, np.array([alpha]), np.array([beta]), ARMS)[0]
    for n in (2, 12):
        draws = integrand(p, n)
        assert abs(value[n - 2] - draws.mean()) < 5 * draws.std() / np.sqrt(len(p)) + 1e-12


@pytest.mark.parametrize("kind", UTILITIES)
@given(st.floats(0.05, 1e4), st.floats(0.05, 1e4))
def test_utilities_rise_and_are_concave(kind, alpha, beta):
    value = utilities(kind, np.array([alpha]), np.array([beta]), np.arange(1, 33))[0]
    gain = np.diff(value)
    assert (gain >= -1e-14).all()
    assert (np.diff(gain) <= 1e-14).all()
    assert gain[0] > gain[-1]


@pytest.mark.parametrize("kind", UTILITIES)
def test_rows_are_independent_and_arms_consistent(kind):
    alpha, beta = np.array(PAIRS).T
    whole = utilities(kind, alpha, beta, ARMS)
    assert whole.shape == (len(PAIRS), len(ARMS))
    for i in range(len(PAIRS)):
        assert np.array_equal(utilities(kind, alpha[i : i + 1], beta[i : i + 1], ARMS)[0], whole[i])
    assert np.allclose(utilities(kind, alpha, beta, ARMS[3:6]), whole[:, 3:6], rtol=1e-13)
