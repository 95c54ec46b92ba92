"""POPO and replay by advantage on cases worked out by hand: what is stored, and what comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from by_hand import made, outcome
from gdro import CheckpointError, Controller, Problem, Request, StrategyError, make_strategy
from gdro.groups import group
from gdro.types import Recall


def weighed(c, right, rewards=None):
    """The weights of one step of four rollouts a prompt, which is closed."""
    offered = np.array(list(right))
    plan = c.plan(Request(len(offered), 4 * len(offered), offered))
    scored = outcome(plan, right)
    scored = scored if rewards is None else replace(scored, reward_R=np.array(rewards, float))
    weights = c.weigh(scored)
    c.observe(scored)
    return weights


def prompts(weights):
    return [r.prompt for r in weights.recall]


def test_popo_remembers_groups_that_differ_whole():
    weights = weighed(made("popo"), {0: 1, 1: 0, 2: 4})
    assert weights.remember_R.tolist() == [True] * 4 + [False] * 8
    assert (weights.remember, weights.correction) == ("group", "decoupled")
    assert weights.recall == ()


def test_popo_brings_the_latest_groups_back_first():
    c = made("popo")
    weighed(c, {0: 1, 1: 2})
    weighed(c, {2: 3, 3: 1})
    weighed(c, {0: 2, 4: 0})
    weights = weighed(c, {5: 0, 6: 0, 7: 0})  # twelve rows for groups of two rows or more
    assert prompts(weights)[0] == 0
    assert set(prompts(weights)[1:3]) == {2, 3}
    assert prompts(weights)[3:] == [1], "prompt 0 has a later group"
    assert all(r == Recall(r.prompt, "group") for r in weights.recall)
    assert c.strategy.metrics(c._state) == {"popo_groups": 4.0}


def test_popo_asks_for_no_more_than_there_is_room_for():
    c = made("popo")
    weighed(c, dict.fromkeys(range(6), 2))
    assert len(prompts(weighed(c, {6: 0, 7: 2}))) == 2
    assert prompts(weighed(c, {8: 1})) == []


@pytest.mark.parametrize(("max_age", "used"), [(1, [4]), (2, [4, 2]), (3, [4, 2, 0])])
def test_popo_forgets_old_groups(max_age, used):
    c = made("popo", max_age=max_age)
    for prompt in (0, 2, 4):
        weighed(c, {prompt: 1})
    assert prompts(weighed(c, {6: 0, 7: 0})) == used


def test_popo_with_partial_credit_keeps_what_has_a_gradient():
    """All wrong by verdict, and rewards that differ: such a group needs no replacement."""
    weights = weighed(made("popo"), {0: 0, 1: 0}, rewards=[0, 0.5, 0, 0, 0, 0, 0, 0])
    assert weights.remember_R.tolist() == [True] * 4 + [False] * 4


def test_advantages_of_the_buffer_by_hand():
    """One of four is right: (1 - 1/4) / 1/2 = 1.5 for it, -.5 for the others; by ascending reward."""
    c = made("advantage-replay", capacity=12, warmup=0)
    weights = weighed(c, {0: 1, 1: 0, 2: 2})
    assert weights.remember_R.tolist() == [True] * 4 + [False] * 4 + [True] * 4
    assert (weights.remember, weights.correction) == ("group", "clipped")
    state, pair = c._state, 0.5 / (np.sqrt(1 / 3) + 1e-4)
    assert state.prompt_M.tolist() == [0] * 4 + [2] * 4 + [-1] * 4
    one = np.array([0.5, 0.5, 0.5, 1.5]) * 0.5 / (0.5 + 1e-4)
    assert state.advantage_M == pytest.approx([*one, *[pair] * 4, *[0.0] * 4])
    assert state.start_N[:3].tolist() == [0, -1, 4] and state.size_N[:3].tolist() == [4, 0, 4]
    weighed(c, {3: 3, 2: 1})  # 2 was stored before: its rows go; 3 takes the last places, 2 the first
    assert c._state.prompt_M.tolist() == [2] * 4 + [-1] * 4 + [3] * 4
    assert c._state.start_N[[0, 2, 3]].tolist() == [-1, 0, 8]


def test_rows_come_back_after_the_warmup_and_until_they_are_old():
    c = made("advantage-replay", warmup=2, max_age=2, ratio=1.0)
    weighed(c, {0: 1})
    assert weighed(c, {1: 0}).recall == ()  # one plan is closed
    weights = weighed(c, {2: 0, 3: 0})
    assert sorted((r.prompt, r.slot) for r in weights.recall) == [(0, slot) for slot in range(4)]
    assert all(r.kind == "anchor" and r.advantage is None for r in weights.recall)
    assert weights.most_anchors == 8
    assert weighed(c, {4: 0}).recall == ()  # three plans old


@pytest.mark.parametrize(("alpha", "share"), [(0.0, 0.25), (0.5, 0.366), (1.0, 0.5), (2.0, 0.75)])
def test_rows_are_drawn_by_their_advantage(alpha, share):
    """Of 1.5, .5, .5, .5 the first is drawn with 1.5^a / (1.5^a + 3 .5^a): 1/4, .366, 1/2, 3/4."""
    c = made("advantage-replay", warmup=0, alpha=alpha)
    weighed(c, {0: 1})
    rng = np.random.default_rng(1)
    drawn = [c.strategy._drawn(c._state, 1, rng)[0] for _ in range(10_000)]
    assert np.mean(np.array(drawn) == 3) == pytest.approx(share, abs=0.015)


def test_a_ring_smaller_than_a_plan_keeps_its_last_groups():
    c = made("advantage-replay", capacity=9, warmup=0)
    weighed(c, {0: 1, 1: 1, 2: 1})
    assert c._state.prompt_M.tolist() == [1] * 4 + [2] * 4 + [-1]
    weighed(c, {3: 1})  # the ninth place and the first three: 1 loses its group
    assert c._state.prompt_M.tolist() == [3] * 3 + [-1] + [2] * 4 + [3]
    rows = weighed(c, {4: 0}).recall
    assert {r.prompt for r in rows} <= {2, 3} and len(rows) == 2


@pytest.mark.parametrize("name", ["popo", "advantage-replay"])
def test_a_resumed_run_recalls_the_same(name):
    options = {"capacity": 30, "warmup": 0} if name == "advantage-replay" else {}
    c, again = made(name, num=40, **options), made(name, num=40, **options)
    rng, times = np.random.default_rng(0), 0
    for _ in range(12):
        offered = rng.choice(40, 6, replace=False).tolist()
        weighed(c, {p: int(rng.integers(0, 5)) for p in offered})
        again.load_state_dict(c.state_dict())
        plan = c.plan(Request(4, 16))
        groups = group(plan, outcome(plan, dict.fromkeys(range(40), 0)))
        recalls = [
            c.strategy.weigh(state, c.belief, groups, np.random.default_rng(1)).recall
            for state in (c._state, again._state)
        ]
        assert recalls[0] == recalls[1]
        assert c.strategy.metrics(again._state) == c.strategy.metrics(c._state)
        times += len(recalls[0])
        c.abandon(plan.ticket)
    assert times > 30


def test_rows_follow_their_prompts_into_a_changed_pool(tmp_path):
    c = made("advantage-replay", num=6, capacity=12, warmup=0)
    weighed(c, {1: 1, 4: 1, 5: 3})
    c.save(tmp_path / "state.npz")
    moved = Controller(c.strategy, Problem(["k5", "new", "k1"]), seed=0)
    moved.load(tmp_path / "state.npz", keys="match")
    assert moved._state.prompt_M.tolist() == [2] * 4 + [-1] * 4 + [0] * 4


def test_a_checkpoint_with_more_rows_than_the_ring_is_refused():
    c = made("advantage-replay", capacity=8, warmup=0)
    weighed(c, {0: 1, 1: 1})
    state = c.state_dict()
    name = next(key for key in state["arrays"] if key.endswith("size_N"))
    state["arrays"][name][:2] = 7
    with pytest.raises(CheckpointError, match="14 rows to replay in a ring of 8"):
        c.load_state_dict(state)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("popo", {"max_age": 0}),
        *(
            ("advantage-replay", options)
            for options in (
                {"ratio": 0.0},
                {"ratio": 1.5},
                {"alpha": -1.0},
                {"max_age": 0},
                {"warmup": -1},
                {"capacity": 1},
            )
        ),
    ],
)
def test_bad_options(name, options):
    with pytest.raises(StrategyError, match=f"{name}: {next(iter(options))}"):
        make_strategy(name, **options)


@pytest.mark.parametrize("name", ["popo", "advantage-replay"])
def test_they_compose_and_two_memories_do_not(name):
    joint = make_strategy(f"rollout-gdro + {name}")
    assert joint.remembers and joint.remembers_groups and joint.keeps_for
    assert not make_strategy("rollout-gdro + memory").remembers_groups
    with pytest.raises(StrategyError, match="both remember"):
        make_strategy(f"memory + {name}")
