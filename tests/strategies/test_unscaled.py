"""Rivals with advantages of their own, by hand, whatever a trainer divides rewards by."""

from __future__ import annotations

from math import exp, lgamma

import numpy as np
import pytest

from by_hand import made, outcome, step
from gdro import Outcome, Request, Weights, make_strategy
from gdro.groups import group
from gdro.memory.advantages import WeightedRows
from gdro.strategies.baselines.bbg import BBG
from gdro.strategy import NoState


def advantages(c, right, rollouts=4):
    """The step's advantages in studies and simulations, by prompt: of right rows, then of wrong ones."""
    plan = c.plan(Request(len(right), rollouts * len(right), np.arange(len(right))))
    scored = outcome(plan, right)
    weights = c.weigh(scored)
    advantage_R = WeightedRows.of(scored, weights).advantage_R()
    c.observe(scored)
    return {
        i: (
            advantage_R[rows & scored.correct_R].tolist(),
            advantage_R[rows & ~scored.correct_R].tolist(),
        )
        for i in right
        for rows in [scored.prompt_R == i]
    }


def test_maxrl_is_the_paper_s_advantage() -> None:
    """(r - mean) / mean: -1 for each wrong rollout of a mixed group, n - 1 for its only right one."""
    found = advantages(made("maxrl"), {0: 1, 1: 2, 2: 3, 3: 0, 4: 4})
    assert found[0][0] == pytest.approx([3.0], abs=1e-9)
    assert found[1][0] == pytest.approx([1.0, 1.0], abs=1e-9)
    assert found[2][0] == pytest.approx([1 / 3] * 3, abs=1e-9)
    for i, wrong in ((0, 3), (1, 2), (2, 1)):
        assert found[i][1] == pytest.approx([-1.0] * wrong, abs=1e-9)
    assert found[3] == ([], [0.0] * 4)
    assert found[4] == ([0.0] * 4, [])
    assert advantages(made("maxrl"), {0: 1}, rollouts=8)[0][0] == pytest.approx([7.0], abs=1e-9)


def test_maxrl_keeps_partial_credit_of_groups_without_a_success() -> None:
    c = made("maxrl", num=2)
    plan = c.plan(Request(2, 8, np.arange(2)))
    reward_R = np.array([0.0, 0.0, 0.2, 0.6, 0.0, 0.2, 0.4, 1.0])
    scored = Outcome(plan.ticket, plan.prompt_R, reward_R, reward_R == 1.0)
    found = WeightedRows.of(scored, c.weigh(scored)).advantage_R()
    assert found[:4] == pytest.approx([-0.2, -0.2, 0.0, 0.4], abs=1e-9)
    assert found[4:] == pytest.approx([-1.6, -0.8, 0.0, 2.4], abs=1e-9)  # (r - .4) / .25


def test_curverl_is_f_over_f_of_the_recent_steps() -> None:
    """Mixed groups by pass rate: two of 1/4 and one of 3/4; then one of each kind joins."""
    c = made("curverl")
    first = advantages(c, {0: 1, 1: 1, 2: 3, 3: 0, 4: 4})  # its own groups: f/F = 2/2, 1/3
    assert first[0][0] == pytest.approx([0.75], abs=1e-9)
    assert first[2] == (pytest.approx([0.25 / 3] * 3, abs=1e-9), pytest.approx([-0.25], abs=1e-9))
    assert first[3] == ([], [0.0] * 4) and first[4] == ([0.0] * 4, [])
    second = advantages(c, {0: 1, 1: 2, 2: 3})  # 2/4 did not occur before
    assert second[0][1] == pytest.approx([-0.25] * 3, abs=1e-9)
    assert second[1] == ([0.0] * 2, [0.0] * 2)
    third = advantages(c, {0: 1, 1: 2, 2: 3})  # 3, 1 and 2 groups: 3/3, 1/4, 2/6
    assert third[1][0] == pytest.approx([0.5 / 4] * 2, abs=1e-9)
    assert third[2][0] == pytest.approx([0.25 / 3] * 3, abs=1e-9)


@pytest.mark.parametrize("classes", [5, 9, 129])
def test_curverl_tells_equal_groups_apart_with_any_number_of_classes_above_their_size(classes) -> None:
    c = made("curverl", classes=classes)
    found = [advantages(c, {0: 1, 1: 2, 2: 3, 3: 3}) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0][3][0] == pytest.approx([0.25 * 2 / 4] * 3, abs=1e-9)


def test_curverl_forgets_what_left_the_window() -> None:
    c = made("curverl", window=1)
    step(c, {0: 1, 1: 1, 2: 3})
    step(c, {0: 2, 1: 4, 2: 0})
    assert c._state.count_TG.sum() == 1
    found = advantages(c, {0: 1, 1: 2, 2: 3})
    assert [found[i][0][0] for i in range(3)] == pytest.approx([0.0, 0.5, 0.0], abs=1e-9)
    plain = made("curverl", window=0)
    step(plain, {0: 1, 1: 1, 2: 3})
    assert plain._state.count_TG.shape == (0, 129)
    assert advantages(plain, {0: 2})[0][0] == pytest.approx([0.5] * 2, abs=1e-9)


def room(alpha: float, beta: float, k: int) -> float:
    """E[(1 - p)^k] under Beta(alpha, beta), by gamma functions."""
    logs = lgamma(alpha + beta) - lgamma(beta) + lgamma(beta + k) - lgamma(alpha + beta + k)
    return exp(logs)


def test_bbg_stops_where_one_success_was_seen_and_not_where_none_was() -> None:
    c = made("bbg")
    weights = c.weigh(outcome(plan := c.plan(Request(3, 12, np.arange(3))), {0: 1, 1: 0, 2: 4}))
    assert weights.weight_R.tolist() == [1.0] * 12  # nothing was seen before
    assert weights.scale == "trainer"
    c.observe(outcome(plan, {0: 1, 1: 0, 2: 4}))
    alpha_P, beta_P = c.belief.posterior(np.arange(3))
    rooms = [room(a, b, 256) for a, b in zip(alpha_P, beta_P, strict=True)]
    assert rooms[0] < 0.01 and rooms[1] > 0.05 and rooms[2] < 1e-3
    plan = c.plan(Request(4, 16, np.arange(4)))
    weight_R = c.weigh(outcome(plan, {0: 1, 1: 1, 2: 3, 3: 2})).weight_R
    assert weight_R.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 4 + [1.0] * 4


@pytest.mark.parametrize("k", [1, 8])
def test_bbg_gate_is_at_its_room(k: int) -> None:
    c = made("bbg", k=k)
    step(c, {0: 1, 1: 0, 2: 4})
    alpha_P, beta_P = c.belief.posterior(np.arange(3))
    for i in range(3):
        exact = room(float(alpha_P[i]), float(beta_P[i]), k)
        for factor, wanted in ((0.999, 1.0), (1.001, 0.0)):
            gate = BBG(k=k, room=exact * factor)
            plan = c.plan(Request(3, 12, np.arange(3)))
            groups = group(plan, outcome(plan, {0: 1, 1: 1, 2: 1}))
            weights = gate.weigh(NoState(), c.belief, groups, np.random.default_rng(0))
            assert weights.weight_R[4 * i] == wanted


def test_a_composition_takes_the_scaling_of_its_weigher() -> None:
    assert make_strategy("mopps + rollout-gdro + maxrl").unscaled
    assert not make_strategy("mopps + rollout-gdro + passk-advantages").unscaled
    assert not make_strategy("gdro").unscaled
    assert Weights(np.ones(1), np.ones(1, bool)).scale == "trainer"
