"""Best responses against general solvers, their KKT conditions, limits and symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog, minimize

from gdro.numerics.ambiguity import chi2_response, cvar_response, entropy_response

LOSSES = arrays(float, st.integers(2, 8), elements=st.integers(-40, 40).map(lambda x: x / 8))
SEEDS = st.integers(0, 10**6)


def prior(loss, seed):
    return np.random.default_rng(seed).dirichlet(np.full(len(loss), 2.0)) + 0.0


def divergence(q, p):
    return ((q - p) ** 2 / p).sum()


@given(LOSSES, st.floats(0.05, 10), SEEDS)
def test_entropy_with_a_prior_is_the_closed_form_and_the_best(loss, eta, seed):
    p = prior(loss, seed)
    q = entropy_response(loss, eta, p)
    closed = p * np.exp(eta * (loss - loss.max()))
    assert np.allclose(q, closed / closed.sum())

    def value(x):
        kept = x > 0
        return x @ loss - (x[kept] * np.log(x[kept] / p[kept])).sum() / eta

    for other in np.random.default_rng(seed).dirichlet(np.ones(len(loss)), 20):
        assert value(other) <= value(q) + 1e-9


@given(LOSSES, st.floats(0.02, 1.0), SEEDS)
def test_cvar_equals_the_linear_programme(loss, level, seed):
    p = prior(loss, seed)
    q = cvar_response(loss, level, p)
    assert q.sum() == pytest.approx(1.0, abs=1e-9)
    assert (q >= 0).all()
    assert (q <= p / level + 1e-9).all()
    solved = linprog(-loss, A_eq=np.ones((1, len(p))), b_eq=[1.0], bounds=[(0, x / level) for x in p])
    assert q @ loss == pytest.approx(-solved.fun, abs=1e-7)


@given(LOSSES, st.floats(0.001, 8.0), SEEDS)
def test_chi2_is_feasible_and_no_point_of_the_ball_is_better(loss, radius, seed):
    p = prior(loss, seed)
    q = chi2_response(loss, radius, p)
    assert q.sum() == pytest.approx(1.0, abs=1e-9)
    assert (q >= 0).all()
    assert divergence(q, p) <= radius * (1 + 1e-6) + 1e-9
    rng = np.random.default_rng(seed)
    for other in (*rng.dirichlet(np.ones(len(p)), 40), *rng.dirichlet(80 * q + 1e-3, 40)):
        # Shrunk towards the prior until it lies in the ball.
        inside = p + min(1.0, np.sqrt(radius / divergence(other, p))) * (other - p)
        assert inside @ loss <= q @ loss + 1e-9


def test_chi2_against_a_general_solver():
    rng = np.random.default_rng(3)
    for _ in range(25):
        size = rng.integers(2, 7)
        loss, p, radius = rng.normal(size=size), rng.dirichlet(np.ones(size)), rng.exponential(0.7)
        solved = minimize(
            lambda q, loss=loss: -(q @ loss),
            p,
            jac=lambda _, loss=loss: -loss,
            method="SLSQP",
            bounds=[(0, 1)] * size,
            options={"ftol": 1e-13, "maxiter": 500},
            constraints=[
                {"type": "eq", "fun": lambda q: q.sum() - 1.0},
                {"type": "ineq", "fun": lambda q, p=p, r=radius: r - divergence(q, p)},
            ],
        )
        assert chi2_response(loss, radius, p) @ loss == pytest.approx(-solved.fun, abs=2e-5)


def test_limits():
    loss = np.array([0.2, 0.9, 0.9, 0.1])
    p = np.array([0.4, 0.3, 0.1, 0.2])
    assert np.allclose(entropy_response(loss, 0.0, p), p)
    assert np.allclose(cvar_response(loss, 1.0, p), p)
    assert np.allclose(chi2_response(loss, 0.0, p), p)
    worst = [0.0, 0.75, 0.25, 0.0]  # bins of equal loss share by the prior
    assert np.allclose(entropy_response(loss, 1e4, p), worst)
    assert np.allclose(cvar_response(loss, 0.01, p), worst)
    assert np.allclose(chi2_response(loss, 1e4, p), worst)
    flat = np.full(4, 0.5)
    for q in (cvar_response(flat, 0.3, p), chi2_response(flat, 2.0, p), entropy_response(flat, 9.0, p)):
        assert np.allclose(q, p)


def test_bins_without_prior_get_nothing():
    loss, p = np.array([5.0, 1.0, 0.0]), np.array([0.0, 0.5, 0.5])
    for q in (
        entropy_response(loss, 1.0, p),
        cvar_response(loss, 0.5, p),
        chi2_response(loss, 0.3, p),
    ):
        assert q[0] == 0.0
        assert q.sum() == pytest.approx(1.0)


@given(LOSSES, SEEDS)
def test_order_of_the_bins_does_not_matter(loss, seed):
    rng = np.random.default_rng(seed)
    order, p = rng.permutation(len(loss)), prior(loss, seed)
    for respond in (
        lambda x, y: entropy_response(x, 2.0, y),
        lambda x, y: cvar_response(x, 0.4, y),
        lambda x, y: chi2_response(x, 0.5, y),
    ):
        assert np.allclose(respond(loss, p)[order], respond(loss[order], p[order]), atol=1e-9)
