"""What a memory remembers and asks for, on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from by_hand import made, outcome, step
from gdro import Request, StrategyError, make_strategy
from gdro.groups import group
from gdro.types import Recall


def weighed(c, right, offered):
    """The weights of one step, which is closed."""
    plan = c.plan(Request(len(offered), 4 * len(offered), np.array(offered)))
    scored = outcome(plan, right)
    weights = c.weigh(scored)
    c.observe(scored)
    return weights


def recalled(weights, kind):
    return sorted(r.prompt for r in weights.recall if r.kind == kind)


def test_right_rollouts_are_remembered():
    weights = weighed(made("memory"), {0: 2, 1: 0, 2: 4}, [0, 1, 2])
    assert weights.remember_R.tolist() == [True, True, False, False] + [False] * 4 + [True] * 4
    assert weights.recall == ()


def test_replays_are_failed_prompts_with_a_stored_success():
    c = made("memory", anchors=0)
    weighed(c, {0: 1, 1: 0, 2: 1}, [0, 1, 2])
    weights = weighed(c, {0: 0, 1: 0, 2: 3}, [0, 1, 2])
    assert weights.recall == (Recall(0, "replay", weight=0.25),)
    assert c.strategy.metrics(c._state)["memory_share"] == pytest.approx(2 / 12)


def test_no_replays_when_off():
    c = made("memory", anchors=0, replay=False)
    weighed(c, {0: 1}, [0])
    assert weighed(c, {0: 0}, [0]).recall == ()


@pytest.mark.parametrize(("max_age", "used"), [(1, False), (2, True), (0, True)])
def test_old_successes_are_not_used(max_age, used):
    """Stored in plan 0, asked for in plan 2, so two plans old."""
    c = made("memory", anchors=0, max_age=max_age)
    weighed(c, {0: 1}, [0])
    weighed(c, {1: 0}, [1])
    assert bool(weighed(c, {0: 0}, [0]).recall) is used


@pytest.mark.parametrize(("max_misses", "used"), [(1, 1), (2, 2), (0, 5)])
def test_a_success_that_is_not_confirmed_is_replayed_so_often_and_no_more(max_misses, used):
    c = made("memory", anchors=0, max_misses=max_misses)
    weighed(c, {0: 1}, [0])
    assert sum(bool(weighed(c, {0: 0}, [0]).recall) for _ in range(5)) == used
    weighed(c, {0: 1}, [0])  # a new success counts anew
    assert bool(weighed(c, {0: 0}, [0]).recall)


def test_anchors_are_stored_successes_of_easier_prompts():
    """Prompt 0 is easy, 1 hard, 2 fails now; prompts without a success are never anchors."""
    c = made("memory", anchors=2, candidates=5, anchor_rate=0.3, anchor_advantage=0.7)
    for _ in range(4):
        step(c, {0: 4, 1: 0, 2: 3}, offered=[0, 1, 2])
    step(c, {1: 1}, offered=[1])
    weights = weighed(c, {2: 0, 3: 0}, [2, 3])
    assert recalled(weights, "anchor") == [0]
    assert [r.advantage for r in weights.recall if r.kind == "anchor"] == [0.7]
    assert recalled(weights, "replay") == [2]
    assert weights.most_anchors == 2


def test_candidates_are_bounded_and_the_same_for_a_seed():
    def asked(seed):
        c = made("memory", num=40, seed=seed, anchors=3, candidates=7)
        step(c, dict.fromkeys(range(30), 4), num=30)
        return [r.prompt for r in weighed(c, {31: 2}, [31]).recall]

    assert len(asked(0)) == len(set(asked(0))) == 7
    assert asked(0) == asked(0)
    assert asked(0) != asked(1)


@pytest.mark.parametrize("pick", ["random", "least"])
def test_options_reach_the_adapter_through_a_composition(pick):
    c = made(f"uniform + memory(anchor_pick={pick}, replay_weight=.5)")
    weighed(c, {0: 1, 1: 4}, [0, 1])
    weights = weighed(c, {0: 0, 1: 4}, [0, 1])
    assert weights.anchor_pick == pick
    assert [r.weight for r in weights.recall if r.kind == "replay"] == [0.5]


@pytest.mark.parametrize(
    ("anchors", "candidates", "most", "asked"),
    [(0.5, 1, 4, 4), (0.25, 0.75, 2, 6), (0.13, 0.0, 2, 2), (0, 9, 0, 0), (0.0, 0.5, 0, 0)],
)
def test_amounts_are_numbers_or_shares_of_the_rollouts(anchors, candidates, most, asked):
    c = made("memory", num=40, anchors=anchors, candidates=candidates, replay=False)
    step(c, dict.fromkeys(range(30), 4), num=30)
    weights = weighed(c, {31: 2, 32: 1}, [31, 32])  # two groups of four
    assert (weights.most_anchors, len(weights.recall)) == (most, asked)


def test_amplify_weighs_right_rows_of_hard_prompts():
    c = made("memory", amplify=3.0)
    step(c, {0: 0, 1: 4}, num=2)
    p = c.belief.pass_rate(np.array([0, 1]))
    weights = weighed(c, {0: 1, 1: 2}, [0, 1])
    bonus = 1 + 3 * (1 - p) ** 2
    want = [bonus[0], 1, 1, 1, bonus[1], bonus[1], 1, 1]
    assert weights.weight_R == pytest.approx(np.array(want))


def test_memory_leaves_selection_and_allocation_alone():
    assert not make_strategy("memory").selects
    joint = make_strategy("failure-sampling + rollout-gdro + memory")
    assert joint.selects
    assert joint.remembers


@pytest.mark.parametrize(
    "options",
    [
        {"replay_weight": 0.0},
        {"replay_weight": 1.5},
        {"anchor_pick": "best"},
        {"anchors": -1},
        {"anchors": 1.5},
        {"candidates": 2.5},
        {"anchor_rate": 1.5},
        {"anchor_advantage": 0.0},
        {"max_age": -1},
        {"max_misses": -1},
        {"amplify": -0.1},
    ],
)
def test_bad_options(options):
    with pytest.raises(StrategyError, match="memory"):
        make_strategy("memory", **options)


def plainly_usable(strategy, state):
    """Which successes may be recalled, from when they were stored and missed alone."""
    at_N, misses_N = np.asarray(state.at_N), np.asarray(state.misses_N)
    fresh_N = state.steps - at_N <= (strategy.max_age or np.inf)
    return (at_N >= 0) & fresh_N & (misses_N < (strategy.max_misses or np.inf))


@pytest.mark.parametrize("max_misses", [0, 2])
@pytest.mark.parametrize("max_age", [0, 1, 3])
def test_what_is_usable_follows_every_step_and_every_resume(max_age, max_misses):
    c = made("memory", num=40, max_age=max_age, max_misses=max_misses)
    rng, again = np.random.default_rng(0), made("memory", num=40, max_age=max_age, max_misses=max_misses)
    for _ in range(12):
        offered = rng.choice(40, 6, replace=False).tolist()
        weighed(c, {p: int(rng.integers(0, 2)) for p in offered}, offered)
        state, usable_N = c._state, plainly_usable(c.strategy, c._state)
        assert np.array_equal(state.usable_N, usable_N)
        again.load_state_dict(c.state_dict())
        assert np.array_equal(again._state.usable_N, usable_N)
        assert again.metrics() == c.metrics()
        stored = np.asarray(state.at_N)[np.asarray(state.at_N) >= 0]
        ages = state.steps - stored
        assert c.strategy.metrics(state) == pytest.approx(
            {"memory_share": len(stored) / 40, "memory_age": ages.mean() if len(ages) else 0.0}
        )


def test_anchors_are_drawn_as_if_all_usable_ones_were_shuffled():
    """Each known success comes first, second and third equally often; hard ones never come."""
    c = made("memory", num=40, anchors=3, candidates=3, replay=False)
    for _ in range(3):
        step(c, {p: 4 if p < 12 else 1 for p in range(24)}, num=24)
    known = set(range(12)) | {p for p in range(24) if c.belief.pass_rate(np.array([p]))[0] > 0.3}
    assert 12 <= len(known) < 24
    plan = c.plan(Request(1, 4, np.array([30])))
    groups, times = group(plan, outcome(plan, {30: 1})), 6000
    drawn = np.array(
        [
            [r.prompt for r in c.strategy.weigh(c._state, c.belief, groups, rng).recall]
            for rng in map(np.random.default_rng, range(times))
        ]
    )
    assert set(drawn.ravel().tolist()) == known
    for place in range(3):
        share = np.bincount(drawn[:, place], minlength=40)[sorted(known)] / times
        assert share == pytest.approx(np.full(len(known), 1 / len(known)), abs=0.02)
