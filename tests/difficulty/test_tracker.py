"""The difficulty tracker against plain-Python references."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro import Controller, Difficulty, Outcome, Problem, Request, make_strategy
from gdro.difficulty.belief import Belief
from gdro.difficulty.bins import rebin
from gdro.difficulty.tracker import PAPER_EDGES, DifficultyTracker
from gdro.numerics.passk import passk_posterior, passk_unbiased

KEYS = [f"k{i}" for i in range(8)]


def tracker(prior_N=None, **options):
    return DifficultyTracker(Difficulty(**options), Problem(prompt_keys=KEYS, prior_N=prior_N))


def slow_rebin(p, old, edges, delta):
    if old == -1:
        return sum(p >= e for e in edges)
    risen = sum(p >= e + delta for e in edges)
    fallen = sum(p > e - delta for e in edges)
    if risen >= old:
        return risen
    return fallen if fallen < old else old


@given(
    st.lists(st.floats(0.05, 0.95), min_size=1, max_size=9, unique=True).map(sorted),
    st.floats(1e-3, 1),
    st.lists(st.floats(0, 1), min_size=1, max_size=30),
)
def test_hysteresis_is_the_written_rule(edges, share, path):
    delta = share * 0.999 * min(edges[0], 1 - edges[-1])
    # Values on and beside the thresholds are where a rule may be off by one.
    path = [*path, *(e + delta for e in edges), *(e - delta for e in edges), *edges]
    fast = slow = -1
    for p in path:
        slow = slow_rebin(p, slow, edges, delta)
        fast = rebin(np.array([p]), np.array([fast]), np.array(edges), delta)[0]
        assert fast == slow


@given(st.lists(st.sampled_from([0.0, 0.1, 0.15, 0.5, 0.9, 1.0]), min_size=1, max_size=9))
def test_without_hysteresis_a_bin_has_no_memory(path):
    old, edges = np.array([-1]), np.array(PAPER_EDGES)
    for p in path:
        old = rebin(np.array([p]), old, edges, 0.0)
        assert old[0] == sum(p >= e for e in PAPER_EDGES)


def test_hysteresis_by_hand():
    edges = np.array(PAPER_EDGES)
    cases = [(0.52, 4, 4), (0.54, 4, 5), (0.48, 5, 5), (0.46, 5, 4), (1.0, 0, 9), (0.0, 9, 0)]
    for p, old, new in cases:
        assert rebin(np.array([p]), np.array([old]), edges, 0.03)[0] == new


@pytest.mark.parametrize("edges", [PAPER_EDGES, (0.1, 0.2, 0.4, 0.6, 0.8, 0.9), (0.5,)])
def test_every_bin_can_be_reached_and_left(edges):
    t = tracker(edges=edges, k=1, decay=0.0, prior_strength=1e-3)
    assert t.config.num_bins == len(edges) + 1
    for rate, expected in ((0, 0), (50, len(edges)), (0, 0)):
        t.record(np.array([2]), np.array([rate]), np.array([50]))
        assert t.bin_N[2] == expected


def test_unseen_prompts_have_a_bin_of_their_own():
    t = tracker()
    assert t.bin_N.tolist() == [-1] * 8
    t.record(np.array([3, 5]), np.array([0, 4]), np.array([4, 4]))
    assert np.flatnonzero(t.bin_N >= 0).tolist() == [3, 5]
    assert t.bin_N[3] < t.bin_N[5]
    assert t.visits_N.tolist() == [0, 0, 0, 1, 0, 1, 0, 0]
    t.record(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int))
    assert t.visits_N.sum() == 2


def test_prior_column_starts_prompts_in_a_bin():
    prior = np.array([0.0, 0.02, 0.5, 1.0, np.nan, np.nan, 0.9, np.nan])
    t = tracker(prior, k=1)
    assert t.bin_N.tolist() == [0, 0, 5, 9, -1, -1, 9, -1]
    alpha, beta = t.posterior(np.array([2, 6, 0, 3]))
    assert np.allclose(alpha, [0.5, 0.9, 0.05, 0.95])
    assert np.allclose(alpha + beta, 1.0)
    # A prior of zero is moved by what is seen.
    for _ in range(5):
        t.record(np.array([0]), np.array([8]), np.array([8]))
    assert t.bin_N[0] >= 8


def test_prior_mean_follows_the_pool():
    t = tracker(prior_decay=0.9)
    assert t.prior.array()[0] == 0.5
    t.record(np.array([0, 1]), np.array([1, 0]), np.array([4, 4]))
    assert t.prior.array()[0] == pytest.approx(0.125)
    t.record(np.array([2]), np.array([4]), np.array([4]))
    assert t.prior.array()[0] == pytest.approx(0.9 * 0.125 + 0.1)
    alpha, beta = t.posterior(np.array([7]))
    assert alpha[0] == pytest.approx(t.prior.array()[0])
    assert beta[0] == pytest.approx(1 - t.prior.array()[0])


VISITS = st.lists(
    st.tuples(st.integers(0, 7), st.integers(1, 12), st.floats(0, 1)), min_size=1, max_size=60
)


@pytest.mark.parametrize("estimator", ["any", "unbiased", "bayes"])
@given(visits=VISITS, window=st.integers(1, 6), k=st.integers(1, 10))
def test_window_against_a_deque(estimator, visits, window, k):
    t = tracker(tracker="windowed", window=window, estimator=estimator, k=k)
    seen = [deque(maxlen=window) for _ in KEYS]
    for prompt, n, rate in visits:
        s = round(rate * n)
        t.record(np.array([prompt]), np.array([s]), np.array([n]))
        seen[prompt].append((s, n))
    for prompt in {v[0] for v in visits}:
        s, n = (sum(x) for x in zip(*seen[prompt], strict=True))
        mean = min(max(t.prior.array()[0], 0.05), 0.95)
        alpha, beta = s + mean, n - s + 1 - mean
        expected = float(passk_posterior(alpha, beta, k))
        if estimator == "any":
            expected = np.mean([x > 0 for x, _ in seen[prompt]])
        elif estimator == "unbiased" and n >= k:
            expected = float(passk_unbiased(s, n, k))
        assert t.passk(np.array([prompt]))[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("estimator", ["any", "unbiased", "bayes"])
@given(visits=VISITS, decay=st.sampled_from([0.0, 0.5, 0.7, 1.0]), k=st.integers(1, 10))
def test_decay_against_plain_sums(estimator, visits, decay, k):
    t = tracker(decay=decay, estimator=estimator, k=k)
    sums = np.zeros((8, 4))
    for prompt, n, rate in visits:
        s = round(rate * n)
        t.record(np.array([prompt]), np.array([s]), np.array([n]))
        sums[prompt] = decay * sums[prompt] + [s, n - s, s > 0, 1]
    for prompt in {v[0] for v in visits}:
        s, f, hit, weight = sums[prompt]
        mean = min(max(t.prior.array()[0], 0.05), 0.95)
        expected = float(passk_posterior(s + mean, f + 1 - mean, k))
        if estimator == "any":
            expected = hit / weight
        elif estimator == "unbiased":
            if abs(s + f - k) < 1e-4:
                continue  # at the switch, rounding in the counts decides
            if s + f > k:
                expected = float(passk_unbiased(s, s + f, k))
        assert t.passk(np.array([prompt]))[0] == pytest.approx(expected, abs=2e-5)


def test_window_drops_the_oldest_visit():
    t = tracker(tracker="windowed", window=2, estimator="any")
    for successes in (4, 0, 0):
        t.record(np.array([0]), np.array([successes]), np.array([4]))
    assert t.passk(np.array([0]))[0] == 0.0
    assert t.counts.totals(np.array([0]))[1][0] == 8.0


def mean_estimate(estimator, n, p, visits=40, k=4):
    rng = np.random.default_rng(n)
    num = 1500
    config = Difficulty(tracker="windowed", window=visits, estimator=estimator, k=k)
    t = DifficultyTracker(config, Problem(prompt_keys=[str(i) for i in range(num)]))
    everyone = np.arange(num)
    for _ in range(visits):
        t.record(everyone, rng.binomial(n, p, num), np.full(num, n))
    return t.passk(everyone).mean()


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_pass_at_k_does_not_depend_on_the_budget(p):
    truth = 1 - (1 - p) ** 4
    for estimator in ("bayes", "unbiased"):
        few, many = mean_estimate(estimator, 2, p), mean_estimate(estimator, 12, p)
        assert few == pytest.approx(truth, abs=0.02)
        assert many == pytest.approx(truth, abs=0.02)
    # The paper's estimate moves with n alone.
    few, many = mean_estimate("any", 2, p), mean_estimate("any", 12, p)
    assert few == pytest.approx(1 - (1 - p) ** 2, abs=0.01)
    assert many == pytest.approx(1 - (1 - p) ** 12, abs=0.01)
    assert many - few > 0.3


@pytest.mark.parametrize("kind", ["decayed", "windowed"])
def test_arrays_round_trip(kind):
    first, second = tracker(tracker=kind), tracker(tracker=kind)
    first.record(np.array([1, 4]), np.array([2, 0]), np.array([4, 4]))
    second.load_arrays({k: v.copy() for k, v in first.arrays().items()})
    for t in (first, second):
        t.record(np.array([4, 2]), np.array([3, 0]), np.array([4, 4]))
    for name, array in first.arrays().items():
        assert np.array_equal(array, second.arrays()[name])


def test_belief_is_a_read_only_view():
    t = tracker()
    belief = Belief(t)
    t.record(np.array([1]), np.array([3]), np.array([4]))
    assert (belief.num_prompts, belief.num_bins) == (8, 10)
    assert belief.bin_N[1] == t.bin_N[1] >= 0
    for view in (belief.bin_N, belief.visits_N):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 3
    alpha, beta = belief.posterior(np.array([1]))
    assert belief.pass_rate(np.array([1])) == alpha / (alpha + beta)
    assert belief.passk(np.array([1])) == t.passk(np.array([1]))


def test_many_edges_fit_the_bin_type():
    edges = tuple(np.linspace(0.001, 0.999, 400))
    t = tracker(edges=edges, hysteresis=0.0, k=1, decay=0.0, prior_strength=1e-6)
    t.record(np.array([0]), np.array([1000]), np.array([1000]))
    assert t.bin_N[0] == 400


@pytest.mark.parametrize(("options", "most"), [({}, 32), ({"tracker": "windowed", "window": 100}, 232)])
def test_bytes_a_prompt(options, most):
    """Tracker and key hash of a large pool; the arrays are all there is."""
    num = 10_000
    problem = Problem(prompt_keys=[f"k{i}" for i in range(num)])
    made = DifficultyTracker(Difficulty(**options), problem)
    kept = sum(array.nbytes for array in made.arrays().values()) + problem.key_hash_N.nbytes
    assert kept / num <= most


def test_loaded_arrays_are_the_controllers_own():
    """Two controllers that load the same state dict do not write into each other."""
    first = Controller(make_strategy("uniform"), Problem(KEYS))
    state = first.state_dict()
    pair = [Controller(make_strategy("uniform"), Problem(KEYS)) for _ in range(2)]
    for made in pair:
        made.load_state_dict(state)
    before = pair[1].digest()
    plan = pair[0].plan(Request(2, 8))
    pair[0].observe(Outcome(plan.ticket, plan.prompt_R, np.ones(8), np.ones(8, bool)))
    assert pair[1].digest() == before
    assert pair[0].digest() != before
