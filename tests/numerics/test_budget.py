"""Exact budgets against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from gdro.errors import BudgetError
from gdro.numerics.budget import check_feasible, choose_arms, even_split, greedy
from gdro.numerics.passk import UTILITIES, utilities
from helpers import raises


def concave(rng, rows, arms):
    gains = np.sort(rng.choice([rng.random(), rng.random(), 0.5, 1.0], (rows, arms - 1)), axis=1)
    start = rng.normal(size=(rows, 1))
    return np.concatenate([start, start + np.cumsum(gains[:, ::-1], axis=1)], axis=1)


def value_of(values, arms, weights=1.0):
    return float((weights * values[np.arange(len(arms)), arms]).sum())


def brute(values, counts, steps):
    """Best value of one arm a row with sum(counts * arms) == steps; None if there is none."""
    choices = product(range(values.shape[1]), repeat=len(values))
    totals = [value_of(values, list(a), counts) for a in choices if np.dot(counts, a) == steps]
    return max(totals, default=None)


def spend(values, counts, rollouts):
    """Value of giving each row's prompts its rollouts as evenly as integers allow."""
    total = 0.0
    for row, count, spent in zip(values, counts, rollouts, strict=True):
        total += row[even_split(int(count), int(spent))].sum()
    return float(total)


@given(st.integers(1, 200), st.data())
def test_even_split(num, data):
    total = data.draw(st.integers(0, 20 * num))
    parts = even_split(num, total)
    assert parts.sum() == total
    assert parts.max() - parts.min() <= 1
    assert (np.diff(parts) <= 0).all()


@given(st.integers(0, 10**6), st.data())
def test_greedy_is_optimal_for_concave_utilities(seed, data):
    rng = np.random.default_rng(seed)
    rows, arms = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    n_min = data.draw(st.integers(1, 4))
    steps = data.draw(st.integers(0, rows * (arms - 1)))
    values = concave(rng, rows, arms)
    got = greedy(values, n_min * rows + steps, n_min)
    assert got.sum() == n_min * rows + steps
    assert got.min() >= n_min
    assert got.max() <= n_min + arms - 1
    ones = np.ones(rows, int)
    assert value_of(values, got - n_min) == pytest.approx(brute(values, ones, steps), abs=1e-12)
    assert np.array_equal(got, greedy(values.copy(), n_min * rows + steps, n_min))


@given(st.integers(0, 10**6), st.data())
def test_greedy_with_counts_is_greedy_over_prompts(seed, data):
    rng = np.random.default_rng(seed)
    rows, arms = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 8))
    n_min = data.draw(st.integers(1, 4))
    counts = rng.integers(1, 9, rows)
    values = concave(rng, rows, arms)
    steps = data.draw(st.integers(0, int(counts.sum()) * (arms - 1)))
    total = n_min * int(counts.sum()) + steps
    got = greedy(values, total, n_min, counts)
    assert got.sum() == total
    assert (got >= n_min * counts).all()
    assert (got <= (n_min + arms - 1) * counts).all()
    each = np.repeat(values, counts, axis=0)
    single = greedy(each, total, n_min)
    best = value_of(each, single - n_min)
    assert spend(values, counts, got - n_min * counts) == pytest.approx(best, abs=1e-9)
    whole = (got % counts) == 0
    assert (~whole).sum() <= 1


@pytest.mark.parametrize("kind", UTILITIES)
def test_greedy_solves_every_utility(kind):
    rng = np.random.default_rng(0)
    values = utilities(kind, rng.uniform(0.1, 5, 4), rng.uniform(0.1, 5, 4), np.arange(2, 7))
    for steps in range(17):
        got = greedy(values, 8 + steps, 2)
        best = brute(values, np.ones(4, int), steps)
        assert value_of(values, got - 2) == pytest.approx(best, abs=1e-12)


def test_ties_go_level_by_level_then_by_position():
    assert greedy(np.zeros((3, 5)), 3 * 2 + 4, 2).tolist() == [4, 3, 3]
    assert greedy(np.zeros((3, 5)), 3 * 2 + 2, 2).tolist() == [3, 3, 2]
    counts = np.array([2, 1, 3])
    assert greedy(np.zeros((3, 5)), 12 + 4, 2, counts).tolist() == [6, 3, 7]


@given(st.integers(0, 10**6), st.data())
def test_choose_arms_is_optimal_over_whole_bins(seed, data):
    rng = np.random.default_rng(seed)
    rows, arms = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    n_min = data.draw(st.integers(1, 3))
    counts = rng.integers(1, 7, rows)
    values = rng.normal(size=(rows, arms))
    steps = data.draw(st.integers(0, int(counts.sum()) * (arms - 1)))
    total = n_min * int(counts.sum()) + steps
    best = brute(values, counts, steps)
    if best is None:
        with raises(BudgetError, str(total), "nearest below", "split=True"):
            choose_arms(values, counts, total, n_min, split=False)
    else:
        got = choose_arms(values, counts, total, n_min, split=False)
        assert got.sum() == total
        assert not (got % counts).any()
        assert value_of(values, got // counts - n_min, counts) == pytest.approx(best, abs=1e-9)
        assert np.array_equal(choose_arms(values, counts, total, n_min, split=True), got)
    split = choose_arms(values, counts, total, n_min, split=True)
    assert split.sum() == total
    assert (split >= n_min * counts).all()
    assert (split <= (n_min + arms - 1) * counts).all()
    assert np.array_equal(split, choose_arms(values.copy(), counts.copy(), total, n_min))


@pytest.mark.parametrize("seed", range(6))
def test_choose_arms_equals_scipy_milp_at_paper_size(seed):
    """Ten bins, 256 prompts, arms 2..12: too many choices for brute force, few for a MILP."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(256 - 10, rng.dirichlet(np.ones(10))) + 1
    values = rng.normal(size=(10, 11)) if seed % 2 else concave(rng, 10, 11)
    total = 4 * 256
    cost = np.outer(counts, np.arange(2, 13))
    one_arm = LinearConstraint(np.kron(np.eye(10), np.ones(11)), 1, 1)
    exact = LinearConstraint(cost.reshape(1, -1), total, total)
    solved = milp(
        -(counts[:, None] * values).ravel(),
        constraints=[one_arm, exact],
        integrality=np.ones(110),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    assert solved.success
    got = choose_arms(values, counts, total, 2, split=False)
    assert got.sum() == total
    assert value_of(values, got // counts - 2, counts) == pytest.approx(-solved.fun, abs=1e-6)


@given(st.integers(0, 10**6), st.data())
def test_split_is_near_the_concave_optimum(seed, data):
    """Within one bin's worth of one step of the best allocation of single prompts."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 9, data.draw(st.integers(1, 4)))
    values = concave(rng, len(counts), 6)
    steps = data.draw(st.integers(0, int(counts.sum()) * 5))
    total = 2 * int(counts.sum()) + steps
    best = spend(values, counts, greedy(values, total, 2, counts) - 2 * counts)
    got = spend(values, counts, choose_arms(values, counts, total, 2) - 2 * counts)
    assert got <= best + 1e-9
    largest = np.diff(values, axis=1).max()
    assert best - got <= counts.max() * largest * len(counts) + 1e-9


def test_worked_example_of_the_method():
    """Variances .25, .16, .04 on 8, 20 and 100 prompts, mean 4."""
    variance, counts, arms = np.array([0.25, 0.16, 0.04]), np.array([8, 20, 100]), np.arange(2, 13)
    values = -variance[:, None] / arms
    got = choose_arms(values, counts, 4 * 128, 2, split=False)
    assert (got / counts).tolist() == [9, 7, 3]
    assert counts @ (variance / (got / counts)) == pytest.approx(2.01, abs=0.005)
    assert counts @ (variance / 4) == pytest.approx(2.30, abs=0.005)
    # One bin counts as much as another: the paper's objective is worse than uniform.
    wrong = min(
        (np.dot(variance, 1 / np.array(a)), a)
        for a in product(arms, repeat=3)
        if np.dot(counts, a) == 512
    )[1]
    assert counts @ (variance / np.array(wrong)) > 2.30


@pytest.mark.parametrize(("num", "total"), [(10, 19), (10, 121), (1, 1), (3, 0)])
def test_infeasible_totals_are_named(num, total):
    with raises(BudgetError, f"{total} rollouts for {num} prompts", r"2\.\.12", str(12 * num)):
        check_feasible(num, total, 2, 12)


@pytest.mark.parametrize("total", [20, 77, 120])
def test_feasible_totals_pass(total):
    assert check_feasible(10, total, 2, 12) is None


def test_unreachable_total_names_the_nearest():
    with raises(BudgetError, r"\[4, 6\] prompts", "exactly 33", "nearest below: 32"):
        choose_arms(np.zeros((2, 5)), np.array([4, 6]), 33, 2, split=False)


def test_large_plans_are_quick_and_exact():
    rng = np.random.default_rng(0)
    counts = rng.integers(300, 500, 10)
    total = 4 * int(counts.sum()) + 1
    values = rng.normal(size=(10, 11))
    assert choose_arms(values, counts, total, 2).sum() == total
    each = utilities("discovery", np.full(4096, 0.5), rng.random(4096), np.arange(2, 13))
    assert greedy(each, 4 * 4096 + 1, 2).sum() == 4 * 4096 + 1
