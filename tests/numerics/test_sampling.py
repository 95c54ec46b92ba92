"""Drawing by bin: frequencies, distinctness, bins that run out."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import helpers as h
from gdro.numerics.ranks import RankIndex, blocked
from gdro.numerics.sampling import (
    draw_by_bin,
    draw_lowest,
    draw_nearest,
    draw_weighted,
    shuffled,
)

BIN_N = np.repeat([-1, 0, 1, 2], [100, 200, 300, 400])
MASS = np.array([0.1, 0.5, 0.3, 0.1])


def by_bin(bin_N, classes=4):
    """The rows by bin, the unseen ones first."""
    block, rows = blocked(np.asarray(bin_N, np.int8))
    return RankIndex(block, len(rows), classes, least=-1)


def draws(times, num, mass=MASS, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([draw_by_bin(by_bin(BIN_N), mass, num, rng) for _ in range(times)])


def test_bins_are_drawn_with_their_mass():
    drawn = draws(2000, 8)
    share = np.bincount(BIN_N[drawn].ravel() + 1, minlength=4) / drawn.size
    error = np.sqrt(MASS * (1 - MASS) / drawn.size)
    assert (np.abs(share - MASS) < 4 * error).all()


def test_prompts_of_a_bin_are_drawn_alike():
    drawn = draws(2000, 8)
    count = np.bincount(drawn.ravel(), minlength=1000)
    for b, mass in zip((-1, 0, 1, 2), MASS, strict=True):
        inside = count[b == BIN_N]
        expected = drawn.size * mass / len(inside)
        chi2 = ((inside - expected) ** 2 / expected).sum()
        assert abs(chi2 - len(inside)) < 5 * np.sqrt(2 * len(inside))


def test_order_is_random():
    first = BIN_N[draws(2000, 8)[:, 0]]
    assert (first == 0).mean() == pytest.approx(0.5, abs=0.04)


@given(
    st.lists(st.integers(-1, 4), min_size=1, max_size=60),
    st.lists(st.sampled_from([0.0, 1e-300, 0.01, 1.0]), min_size=6, max_size=6),
    st.data(),
)
def test_always_distinct_and_complete(bins, mass, data):
    bin_N = np.array(bins, np.int8)
    num = data.draw(st.integers(1, len(bins)))
    seed = data.draw(st.integers(0, 99))
    drawn = draw_by_bin(by_bin(bin_N, 6), np.array(mass), num, np.random.default_rng(seed))
    assert len(drawn) == num == len(set(drawn.tolist()))
    assert drawn.min() >= 0
    assert drawn.max() < len(bins)
    again = draw_by_bin(by_bin(bin_N, 6), np.array(mass), num, np.random.default_rng(seed))
    assert np.array_equal(drawn, again)
    # A bin of no mass serves only when every bin with mass has run out.
    usable = np.array(mass)[bin_N + 1] > 0
    assert (~usable[drawn]).sum() == max(0, num - usable.sum())


def test_exhausted_bin_passes_its_draws_on():
    bin_N = np.repeat([0, 1, 2], [2, 50, 50])
    mass = np.array([0.0, 0.98, 0.015, 0.005])
    rng = np.random.default_rng(0)
    share = np.zeros(3)
    for _ in range(400):
        taken = np.bincount(bin_N[draw_by_bin(by_bin(bin_N), mass, 20, rng)], minlength=3)
        assert taken[0] == 2
        share += taken
    assert share[1] / share[1:].sum() == pytest.approx(0.75, abs=0.02)


def test_whole_pool():
    drawn = draw_by_bin(by_bin(BIN_N), MASS, 1000, np.random.default_rng(0))
    assert np.array_equal(np.sort(drawn), np.arange(1000))


def test_hard_bins_are_drawn_more_often_by_the_strategy():
    c = h.controller("prompt-resample-ema-False")
    h.warm(c, 30)
    hard, easy = np.arange(20), np.arange(40, 60)
    count = np.bincount(np.concatenate([p.prompt_P for p in h.warm(c, 60)]), minlength=h.N)
    assert count[hard].sum() > 1.5 * count[easy].sum()


def test_importance_weights_undo_the_resampling():
    """The weighted mean over drawn prompts has the pool's mean as its expectation."""
    # The largest ratio stays under the cap, which would bias the mean.
    options = {"mode": "resample", "importance_weight": True, "cap": 200.0}
    c = h.Controller(h.make_strategy("prompt-gdro", **options), h.problem(prior=True))
    h.warm(c, 20)
    target = np.linspace(0, 1, h.N) ** 2
    weighted, plain = [], []
    for _ in range(2000):
        plan = c.plan(h.request(num_prompts=1))
        outcome = h.score(plan).outcome
        weight = c.weigh(outcome).weight_R[0]
        weighted.append(weight * target[plan.prompt_P[0]])
        plain.append(target[plan.prompt_P[0]])
        c.abandon(plan.ticket)
    error = np.std(weighted) / np.sqrt(len(weighted))
    assert abs(np.mean(weighted) - target.mean()) < 4 * error
    error = np.std(plain) / np.sqrt(len(plain))
    assert abs(np.mean(plain) - target.mean()) > 8 * error


def test_importance_weights_belong_to_the_draw():
    """A plan that is weighed late was still drawn from the q of its own time."""
    c = h.controller("prompt-resample-ema-True", prior=True)
    h.warm(c, 3)
    plan = c.plan(h.request())
    at_once = c.weigh(h.score(plan).outcome).weight_R
    h.warm(c, 3)
    assert np.allclose(c.weigh(h.score(plan).outcome).weight_R, at_once)


def test_importance_weights_survive_composition():
    """As a part of `joint` the resampler weighs as it does alone."""
    part = {"name": "prompt-gdro", "mode": "resample", "importance_weight": True}
    joint = h.make_strategy("joint", selector=part, weigher=part, allocator="uniform")
    alone = h.controller("prompt-resample-ema-True", prior=True)
    together = h.Controller(joint, h.problem(prior=True))
    weights = [[h.close(c, c.plan(h.request())) for _ in range(6)] for c in (alone, together)]
    assert np.array_equal(*weights)
    assert len(np.unique(weights[0])) > 3


def test_offered_prompts_need_no_importance_weight():
    """The trainer drew them, not the strategy."""
    c = h.controller("prompt-resample-ema-True", prior=True)
    h.warm(c, 6)
    plan = c.plan(h.request(offered=np.arange(16)))
    assert np.array_equal(c.weigh(h.score(plan).outcome).weight_R, np.ones(64))


def test_few_draws_from_a_large_bin_are_uniform_and_distinct():
    index, rng = by_bin(np.tile([0, 1], 2000), 3), np.random.default_rng(5)
    drawn = np.array([draw_by_bin(index, np.array([0.0, 0.5, 0.5]), 6, rng) for _ in range(4000)])
    assert (np.sort(drawn, axis=1)[:, 1:] > np.sort(drawn, axis=1)[:, :-1]).all()
    count = np.bincount(drawn.ravel(), minlength=4000)
    chi2 = ((count - 6.0) ** 2 / 6.0).sum()
    assert abs(chi2 - 4000) < 5 * np.sqrt(2 * 4000)


def plain_law(weight_N, num):
    """Probability that each row is among the first `num` drawn one after the other, by all orders."""
    chance_N = np.zeros(len(weight_N))
    for order in permutations(range(len(weight_N)), num):
        left, probability = weight_N.sum(), 1.0
        for row in order:
            probability *= weight_N[row] / left
            left -= weight_N[row]
        chance_N[list(order)] += probability
    return chance_N


@pytest.mark.parametrize(("num", "floor"), [(1, 0.0), (3, 0.2), (5, 0.2), (3, 1.0)])
def test_weighted_draws_have_the_law_of_draws_one_by_one(num, floor):
    """By guesses, and where these do not suffice (5 of 6) by keys."""
    weight_N = np.array([0.01, 0.1, 0.2, 0.4, 0.8, 1.0])
    share_N = (1 - floor) * weight_N / weight_N.sum() + floor / 6
    want = plain_law(share_N, num)
    rows = np.concatenate(
        [
            draw_weighted(6, num, weight_N.__getitem__, 1.0, floor, np.random.default_rng(seed))
            for seed in range(3000)
        ]
    )
    share = np.bincount(rows, minlength=6) / 3000
    assert share == pytest.approx(want, abs=0.035)


@pytest.mark.parametrize("num", [1, 300, 1000])
def test_weighted_draws_are_distinct_and_spare_the_dataset(num):
    asked = []

    def weight(rows):
        asked.append(len(rows))
        return np.where(rows % 2, 1.0, 0.25)

    drawn = draw_weighted(1000, num, weight, 1.0, 0.1, np.random.default_rng(0))
    assert len(set(drawn.tolist())) == num == len(drawn)
    asked.clear()
    draw_weighted(10**9, 100, weight, 1.0, 0.1, np.random.default_rng(0))
    assert sum(asked) < 1000


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_weights_may_all_be_the_same(weight):
    drawn = draw_weighted(
        9, 9, lambda rows: np.full(len(rows), weight), 1.0, 0.0, np.random.default_rng(0)
    )
    assert sorted(drawn.tolist()) == list(range(9))


@pytest.mark.parametrize("target", [-1.0, 0.0, 2.5, 3.0, 99.0])
def test_the_nearest_values_are_those_of_a_sort_with_ties_at_random(target):
    value_N = np.sort(np.random.default_rng(0).integers(0, 7, 40))
    distance_N = np.abs(value_N - target)
    for num in (1, 7, 40):
        rows = [draw_nearest(value_N, target, num, np.random.default_rng(seed)) for seed in range(300)]
        assert all(len(set(row.tolist())) == num for row in rows)
        assert all(np.array_equal(distance_N[row], np.sort(distance_N)[:num]) for row in rows)
        share_N = np.bincount(np.concatenate(rows), minlength=40) / 300
        last = np.sort(distance_N)[num - 1]
        ties = distance_N == last
        want = (num - (distance_N < last).sum()) / ties.sum()
        assert share_N[ties] == pytest.approx(np.full(ties.sum(), want), abs=0.15)


def test_the_lowest_values_are_uniform_with_ties_at_random():
    value_N, rng = np.array([0, 1, 1, 1, 2, 2]), np.random.default_rng(0)
    rows = np.array([draw_lowest(value_N, 3, 2, rng) for _ in range(6000)])
    assert (rows[:, 0] != rows[:, 1]).all()
    # Row 0 is always in the room of three, each of the next three in two of three rooms.
    want = np.array([2 / 3, *[4 / 9] * 3, 0, 0])
    assert np.bincount(rows.ravel(), minlength=6) / 6000 == pytest.approx(want, abs=0.025)
    whole = draw_lowest(value_N, 6, 6, rng)
    assert sorted(whole.tolist()) == list(range(6))


@pytest.mark.parametrize(("num", "part"), [(0, 3), (1, 3), (7, 2), (100, 10), (100, 200)])
def test_shuffled_numbers_come_once_each_and_in_every_order(num, part):
    parts = list(shuffled(num, part, np.random.default_rng(0)))
    assert sorted(np.concatenate([np.zeros(0, np.int64), *parts]).tolist()) == list(range(num))
    assert all(len(p) >= part for p in parts[:-1])


def test_every_place_of_a_shuffle_is_uniform():
    rows = np.array(
        [np.concatenate(list(shuffled(6, 1, rng))) for rng in map(np.random.default_rng, range(6000))]
    )
    for place in range(6):
        assert np.bincount(rows[:, place]) / 6000 == pytest.approx(np.full(6, 1 / 6), abs=0.02)
