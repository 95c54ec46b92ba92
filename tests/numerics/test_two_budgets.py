"""Two budgets at once, against all allocations of small cases."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.numerics.budget import greedy
from gdro.numerics.two_budgets import greedy_within

N_MIN = 2


@st.composite
def cases(draw):
    prompts, arms = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    gain_PA = -np.sort(-rng.random((prompts, arms - 1)), axis=1)  # falling: concave
    value_PA = np.concatenate([np.zeros((prompts, 1)), np.cumsum(gain_PA, axis=1)], axis=1)
    total = N_MIN * prompts + draw(st.integers(0, prompts * (arms - 1)))
    return value_PA, total, rng.integers(1, 100, prompts).astype(float)


def value_of(value_PA, rollouts_P):
    return value_PA[np.arange(len(value_PA)), rollouts_P - N_MIN].sum()


@given(cases())
@settings(max_examples=300, deadline=None)
def test_the_plan_is_the_best_of_all_that_cost_no_more(case):
    value_PA, total, cost_P = case
    limit = cost_P.mean() * total
    rollouts_P, price = greedy_within(value_PA, total, N_MIN, cost_P, limit)
    cost = rollouts_P @ cost_P
    assert rollouts_P.sum() == total
    assert cost <= limit + 1e-9
    if price == 0.0:
        assert np.array_equal(rollouts_P, greedy(value_PA, total, N_MIN))
    arms = range(N_MIN, N_MIN + value_PA.shape[1])
    every = (np.array(plan) for plan in product(arms, repeat=len(cost_P)))
    fitting = [plan for plan in every if plan.sum() == total and plan @ cost_P <= cost]
    best = max(value_of(value_PA, plan) for plan in fitting)
    assert np.isclose(value_of(value_PA, rollouts_P), best)


def test_little_of_a_large_limit_is_left():
    rng = np.random.default_rng(5)
    gain_PA = -np.sort(-rng.random((256, 10)), axis=1)
    value_PA = np.concatenate([np.zeros((256, 1)), np.cumsum(gain_PA, axis=1)], axis=1)
    cost_P = 100 + 400 * gain_PA.mean(1)  # what is worth most is long
    limit = cost_P.mean() * 1024
    plain = greedy(value_PA, 1024, N_MIN) @ cost_P
    rollouts_P, price = greedy_within(value_PA, 1024, N_MIN, cost_P, limit)
    assert plain > 1.01 * limit
    assert price > 0
    assert 0.998 * limit < rollouts_P @ cost_P <= limit
