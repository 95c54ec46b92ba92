"""Exponential weights: Lemma 4.1, the Hedge bound, and weights with a mean of one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gdro.numerics.simplex import mean_one, mix, softmax

LOSSES = arrays(float, st.integers(2, 12), elements=st.floats(-5, 5))
WEIGHTS = arrays(float, st.integers(1, 40), elements=st.floats(-12, 12)).map(np.exp)


def objective(q, loss, eta):
    positive = q[q > 0]
    return q @ loss - (positive * np.log(positive)).sum() / eta


@given(LOSSES, st.floats(0.05, 20), st.integers(0, 10**6))
def test_softmax_solves_the_entropic_problem(loss, eta, seed):
    """Lemma 4.1: the maximum is logsumexp(eta L)/eta, at the softmax, near the worst bin."""
    q = softmax(eta * loss)
    assert q.sum() == pytest.approx(1.0, abs=1e-12)
    top = loss.max()
    best = top + np.log(np.exp(eta * (loss - top)).sum()) / eta
    assert objective(q, loss, eta) == pytest.approx(best, abs=1e-9)
    assert top - 1e-9 <= best <= top + np.log(len(loss)) / eta + 1e-9
    assert q @ loss >= top - np.log(len(loss)) / eta - 1e-9
    rng = np.random.default_rng(seed)
    for other in (*rng.dirichlet(np.ones(len(loss)), 20), *rng.dirichlet(50 * q + 1e-3, 20)):
        assert objective(other, loss, eta) <= best + 1e-9


@given(LOSSES, st.floats(-1e6, 1e6))
def test_softmax_does_not_move_with_a_constant(loss, shift):
    assert np.allclose(softmax(loss), softmax(loss + shift), atol=1e-9)


def test_softmax_of_extremes_and_of_rows():
    assert softmax(np.array([-1e5, 0.0, 1e5])).tolist() == [0.0, 0.0, 1.0]
    rows = np.array([[1.0, 2.0], [5.0, 5.0]])
    assert np.array_equal(softmax(rows)[0], softmax(rows[0]))
    assert softmax(rows)[1].tolist() == [0.5, 0.5]


@given(LOSSES, st.floats(0, 1))
def test_mix_is_a_distribution_with_a_floor(loss, gamma):
    q = mix(softmax(loss), gamma)
    assert q.sum() == pytest.approx(1.0, abs=1e-12)
    assert (q >= gamma / len(q) - 1e-15).all()
    assert np.allclose(mix(q, 1.0), 1 / len(q))


@given(WEIGHTS, st.floats(1.0, 20), st.integers(0, 10**6))
def test_mean_one(weight, cap, seed):
    kept = weight.copy()
    scaled = mean_one(weight, cap)
    assert np.array_equal(weight, kept)
    assert scaled.mean() == pytest.approx(1.0, abs=1e-9)
    assert scaled.max() <= cap
    assert (scaled >= 0).all()
    order = np.argsort(weight, kind="stable")
    assert (np.diff(scaled[order]) >= 0).all()
    # Weights that no cap touches stay in proportion.
    free = scaled < cap * (1 - 1e-9)
    if free.sum() > 1:
        ratio = scaled[free] / weight[free]
        assert np.allclose(ratio, ratio[0], rtol=1e-6)
        assert ratio[0] >= 1 / weight.mean() * (1 - 1e-9) or np.allclose(scaled, cap)
    permuted = np.random.default_rng(seed).permutation(len(weight))
    assert np.allclose(mean_one(weight[permuted], cap), scaled[permuted], rtol=1e-9)


@given(WEIGHTS, st.floats(1.0, 20), st.integers(0, 10**6))
def test_mean_one_with_shares(weight, cap, seed):
    share = np.random.default_rng(seed).integers(1, 6, len(weight))
    scaled = mean_one(weight, cap, share.astype(float))
    assert share @ scaled / share.sum() == pytest.approx(1.0, abs=1e-9)
    assert scaled.max() <= cap
    # A share of c is the same as c entries.
    assert np.allclose(np.repeat(scaled, share), mean_one(np.repeat(weight, share), cap), rtol=1e-7)


def test_mean_one_by_hand():
    assert mean_one(np.array([1.0, 3.0]), 15.0).tolist() == [0.5, 1.5]
    # 100 is capped first, which lifts 10 over the cap as well.
    assert np.allclose(mean_one(np.array([1.0, 1.0, 10.0, 100.0]), 1.5), [0.5, 0.5, 1.5, 1.5])
    assert mean_one(np.array([1.0, 50.0, 3.0]), 1.0).tolist() == [1.0, 1.0, 1.0]


BINS, STEPS, ETA = 6, 400, 0.3


def sequences():
    """Loss sequences in [0, 1]; the last answers the player's own distribution."""
    rng = np.random.default_rng(0)
    noise = rng.random((STEPS, BINS))
    switching = np.zeros((STEPS, BINS))
    switching[np.arange(STEPS), (np.arange(STEPS) // 50) % BINS] = 1.0
    gap = (rng.random((STEPS, BINS)) < np.linspace(0.3, 0.7, BINS)).astype(float)
    constant = np.tile(np.eye(BINS)[2], (STEPS, 1))
    return {"noise": noise, "switching": switching, "gap": gap, "constant": constant, "worst": None}


def regret(rule, losses):
    """How much more loss the best fixed bin holds than the adversary's distributions did."""
    score, met, seen = np.zeros(BINS), 0.0, np.zeros(BINS)
    for t in range(STEPS):
        q = rule(score)
        # The worst answer to q: loss everywhere but where the adversary puts most.
        loss = losses[t] if losses is not None else (np.arange(BINS) != q.argmax()).astype(float)
        met += q @ loss
        seen += loss
        score = score + loss
    return seen.max() - met


BOUND = np.log(BINS) / ETA + ETA * STEPS / 8


@pytest.mark.parametrize("name", sequences())
def test_hedge_regret_bound(name):
    assert regret(lambda s: softmax(ETA * s), sequences()[name]) <= BOUND


@given(st.integers(0, 10**6))
def test_hedge_regret_bound_on_random_sequences(seed):
    rng = np.random.default_rng(seed)
    losses = rng.random((STEPS, BINS)) ** rng.uniform(0.1, 10, BINS)
    assert regret(lambda s: softmax(ETA * s), losses) <= BOUND


@pytest.mark.parametrize(
    "mutant",
    [
        lambda s: softmax(-ETA * s),
        lambda s: np.full(BINS, 1 / BINS),
        lambda s: softmax(100 * ETA * s),
        lambda s: mix(softmax(ETA * s), 0.5),
    ],
    ids=["sign flipped", "asleep", "eta x 100", "gamma a half"],
)
def test_mutants_break_the_bound(mutant):
    assert max(regret(mutant, losses) for losses in sequences().values()) > BOUND
