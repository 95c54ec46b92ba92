"""A gradient is a question of rewards, solved one of verdicts: groups where the two part."""

from __future__ import annotations

import numpy as np
import pytest

from by_hand import made
from gdro import Controller, Difficulty, Outcome, Problem, Request, make_strategy

# By prompt: rewards of four rollouts, and which are right (None: not known).
SPREAD_WRONG = ([0.1, 0.4, 0.2, 0.1], [0, 0, 0, 0])  # partial credit, nothing right: a gradient
SPREAD_RIGHT = ([0.8, 1.0, 0.9, 0.9], [1, 1, 1, 1])  # all right, and a gradient
FLAT_WRONG = ([0.2, 0.2, 0.2, 0.2], [0, 0, 0, 0])
FLAT_RIGHT = ([0.9, 0.9, 0.9, 0.9], [1, 1, 1, 1])
FLAT_MIXED = ([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 1])  # right, but for a penalty that evens it out
MIXED = ([0.0, 1.0, 0.0, 1.0], [0, 1, 0, 1])
UNJUDGED = ([0.0, 1.0, 0.0, 1.0], [None] * 4)


def scored(plan, groups):
    """An outcome of four rollouts a prompt; prompts that are not named come out mixed."""
    rows = [groups.get(int(i), MIXED) for i in plan.prompt_P]
    each = [n // 4 for n in plan.rollouts_P]
    reward_R = np.concatenate([np.tile(r, k) for (r, _), k in zip(rows, each, strict=True)])
    verdict = [v for (_, right), k in zip(rows, each, strict=True) for v in right * k]
    judged_R = np.array([v is not None for v in verdict])
    correct_R = np.array([bool(v) for v in verdict])
    return Outcome(plan.ticket, plan.prompt_R, reward_R, correct_R, judged_R=judged_R)


def play(c, groups):
    """One step of the named prompts; what was asked for beyond the plan, and kept rows by prompt."""
    num = len(groups)
    outcome = scored(plan := c.plan(Request(num, 4 * num, np.arange(num))), groups)
    used = {}
    while (more := c.extend(outcome)) is not None:
        used |= dict(zip(more.prompt_P.tolist(), more.rollouts_P.tolist(), strict=True))
        outcome = outcome.joined(scored(more, groups))
    weights = c.weigh(outcome)
    c.observe(outcome)
    weight = {int(i): float(weights.weight_R[outcome.prompt_R == i][0]) for i in plan.prompt_P}
    kept = {int(i): int(weights.keep_R[outcome.prompt_R == i].sum()) for i in set(outcome.prompt_R)}
    return used, {i: n for i, n in kept.items() if n}, weight


def test_dapo_replaces_groups_whose_rewards_agree():
    groups = {0: SPREAD_WRONG, 1: SPREAD_RIGHT, 2: UNJUDGED}
    used, kept, _ = play(made("dapo"), groups)
    assert (used, kept) == ({}, {0: 4, 1: 4, 2: 4})
    groups = {0: FLAT_WRONG, 1: FLAT_RIGHT, 2: FLAT_MIXED, 3: SPREAD_WRONG}
    used, kept, _ = play(made("dapo", refill="missing"), groups)
    assert len(used) == 3 and not {0, 1, 2} & set(kept) and kept[3] == 4


def test_speed_goes_on_where_rewards_differ():
    groups = {0: SPREAD_WRONG, 1: FLAT_MIXED, 2: FLAT_RIGHT}
    used, _, _ = play(made("speed", continuation=2.0, max_screens=1), groups)
    assert used == {0: 8}
    used, _, _ = play(made("speed", continuation=2.0, max_screens=1), {0: UNJUDGED})
    assert used == {0: 8}
    # Bounds inside of 0 and 1 ask for a pass rate, which all-wrong and unjudged groups do not meet.
    c = made("speed", continuation=2.0, max_screens=1, low=0.1)
    used, _, _ = play(c, {0: SPREAD_WRONG, 1: MIXED, 2: UNJUDGED})
    assert used == {1: 8}


def test_greso_counts_visits_whose_rewards_agree():
    c = made("greso")
    play(c, {0: SPREAD_WRONG, 1: FLAT_WRONG, 2: FLAT_RIGHT, 3: FLAT_MIXED, 4: SPREAD_RIGHT})
    assert c._state.run_N[:5].tolist() == [0, 1, 1, 1, 0]
    assert c._state.easy_N[:5].tolist() == [0, 0, 1, 0, 0]


def test_passk_advantages_take_an_all_right_group_with_a_gradient_for_solved():
    groups = {0: SPREAD_RIGHT, 1: FLAT_RIGHT, 2: SPREAD_WRONG, 3: UNJUDGED}
    _, _, weight = play(made("passk-advantages", k=2), groups)
    assert list(weight.values()) == [0.01, 1.0, 1.0, 1.0]
    assert set(play(made("passk-advantages", k=1), groups)[2].values()) == {1.0}


def test_daro_learns_from_groups_with_a_gradient_and_a_verdict():
    c = made("daro", classes=4, rate=0.1)
    play(c, {0: FLAT_MIXED, 1: UNJUDGED, 2: FLAT_RIGHT})
    assert c._state.weight_G.tolist() == [1, 1, 1, 1]
    play(c, {0: SPREAD_WRONG, 1: UNJUDGED})
    assert (c._state.weight_G != 1).tolist() == [True, False, False, False]
    _, _, weight = play(c, {0: SPREAD_WRONG, 1: FLAT_WRONG, 2: UNJUDGED})
    assert weight[0] != 1 and weight[1] == weight[2] == 1


def test_mean_one_active_is_over_groups_with_a_gradient():
    c = made("prompt-gdro", normalise="mean_one_active", num=6)
    for _ in range(3):
        play(c, {0: SPREAD_WRONG, 1: MIXED, 2: FLAT_RIGHT})
    _, _, weight = play(c, {0: SPREAD_WRONG, 1: MIXED, 2: FLAT_RIGHT})
    assert weight[0] + weight[1] == pytest.approx(2.0) and weight[0] > 1 > weight[1]
    assert weight[2] == 1


def test_memory_replays_what_failed_by_its_verdict():
    c = made("memory", anchors=0)
    play(c, {0: MIXED, 1: MIXED, 2: UNJUDGED})
    assert c._state.at_N[:3].tolist() == [0, 0, -1]
    plan = c.plan(Request(3, 12, np.arange(3)))
    weights = c.weigh(scored(plan, {0: SPREAD_WRONG, 1: UNJUDGED, 2: FLAT_RIGHT}))
    assert [r.prompt for r in weights.recall] == [0]  # not of the group without verdicts
    assert weights.remember_R.tolist() == [False] * 8 + [True] * 4


def test_reinforce_ada_leaves_groups_without_a_verdict_alone():
    c = made("reinforce-ada", rounds=3)
    used, kept, _ = play(c, {0: UNJUDGED, 1: SPREAD_WRONG, 2: MIXED})
    assert list(used) == [1]
    assert kept == {0: 4, 1: 4, 2: 4}


def test_bandits_that_are_paid_in_rewards_need_no_verdict():
    """Bins of a column: prompts stand in one before they were ever judged."""
    topic = {"topic": np.array(["a", "b"] * 3)}
    for name, options in (("sec", {}), ("prompt-gdro", {"signal": "reward"})):
        problem = Problem([f"k{i}" for i in range(6)], columns=topic)
        difficulty = Difficulty(bins="column", column="topic")
        c = Controller(make_strategy(name, **options), problem, difficulty=difficulty)
        play(c, {0: UNJUDGED, 1: ([0.3] * 4, [None] * 4)})
        found = next(iter(c.strategy.by_bin(c._state).values()))
        assert len(set(found[:2].tolist())) == 2, name
        assert c.belief.visits_N.sum() == 0


def test_a_step_tells_gradient_and_verdicts_apart():
    c = made("uniform")
    play(c, {0: SPREAD_WRONG, 1: FLAT_RIGHT, 2: FLAT_MIXED, 3: UNJUDGED, 4: MIXED})
    found = c.metrics()
    expected = {
        "all_wrong": 1 / 4,
        "all_right": 1 / 4,
        "mixed": 2 / 4,
        "gradient": 3 / 5,
        "flat_right": 1 / 5,
        "flat_wrong": 1 / 5,
        "gradient_rollouts": 3 / 5,
        "unjudged_groups": 1,
        "unscored_groups": 0,
        "pass_rate": (0 + 1 + 0.5 + 0.5) / 4,
        "reward": (0.2 + 0.9 + 0.5 + 0.5 + 0.5) / 5,
    }
    for name, value in expected.items():
        assert found[f"gdro/{name}"] == pytest.approx(value), name
