"""What every strategy owes: exact budgets, purity, determinism, order independence, resume."""

from __future__ import annotations

import copy
from dataclasses import fields
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import helpers as h
from gdro import Controller, More, Request, RunLog, Strategy, make_strategy
from gdro.checkpoint.codec import encode
from gdro.groups import group
from gdro.log.run_log import GROUPS, STEPS, read_jsonl

ALL = pytest.mark.parametrize("variant", sorted(h.VARIANTS))


def warmed(variant: str):
    c = h.controller(variant)
    h.warm(c)
    return c


@cache
def cached(variant: str):
    return warmed(variant)


@ALL
@settings(max_examples=8)
@given(data=st.data())
def test_budget_is_exact_and_within_bounds(variant, data):
    c = cached(variant)
    low, high = h.bounds(c.strategy)
    num = data.draw(st.integers(1, h.N), "P")
    total = data.draw(st.integers(low * num, (high or 20) * num), "total")
    if h.needs_whole(c.strategy):
        total -= total % num
    offered = None
    if data.draw(st.booleans(), "offered"):
        offered = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(h.N)[:num]
    plan = c.plan(Request(num, total, offered))
    assert plan.rollouts_P.sum() == total
    assert plan.rollouts_P.min() >= low
    assert high is None or plan.rollouts_P.max() <= high
    assert plan.prompt_P.shape == plan.rollouts_P.shape == plan.bin_P.shape == (num,)
    assert len(np.unique(plan.prompt_P)) == num
    assert plan.prompt_P.min() >= 0
    assert plan.prompt_P.max() < h.N
    assert np.array_equal(plan.bin_P, c.belief.bin_N[plan.prompt_P])
    if offered is not None:
        assert np.array_equal(plan.prompt_P, offered)
    assert np.array_equal(np.bincount(plan.prompt_R, minlength=h.N)[plan.prompt_P], plan.rollouts_P)


GATES = (
    "bbg",
    "curverl",
    "curverl(window=2, classes=9) + memory",
)  # published with weights of zero; no others give them


@ALL
def test_weights_are_finite_positive_and_aligned(variant):
    c = warmed(variant)
    for _ in range(3):
        plan = c.plan(h.request())
        scored = h.score(plan)
        weights = c.weigh(scored.outcome)
        assert weights.weight_R.shape == weights.keep_R.shape == plan.prompt_R.shape
        assert weights.weight_R.dtype == np.float64
        assert np.isfinite(weights.weight_R).all()
        assert (weights.weight_R >= 0).all()
        assert variant in GATES or (weights.weight_R > 0).all()
        assert weights.scale == ("none" if c.strategy.unscaled else "trainer")
        assert not weights.keep_R[~scored.outcome.valid_R].any()
        for prompt in plan.prompt_P:
            assert len(np.unique(weights.weight_R[plan.prompt_R == prompt])) == 1
        c.observe(scored.outcome, scored.loss_R)


@ALL
def test_inputs_and_state_are_not_mutated(variant):
    c = warmed(variant)
    offered = np.arange(16)[::-1].copy()
    plan = c.plan(h.request(offered=offered))
    assert np.array_equal(offered, np.arange(16)[::-1])
    scored = h.score(plan)
    before = {k: v.copy() for k, v in vars(scored.outcome).items() if isinstance(v, np.ndarray)}
    loss_R = scored.loss_R.copy()
    state, arrays = c._state, encode(c._state, "s")
    arrays = {k: v.copy() for k, v in arrays.items()}
    c.weigh(scored.outcome)
    c.observe(scored.outcome, scored.loss_R)
    assert all(np.array_equal(getattr(scored.outcome, k), v) for k, v in before.items())
    assert np.array_equal(scored.loss_R, loss_R)
    after = encode(state, "s")
    assert all(np.array_equal(after[k], v) for k, v in arrays.items())
    for array in (plan.prompt_P, plan.rollouts_P, plan.bin_P, c.belief.bin_N):
        assert not array.flags.writeable


@ALL
def test_same_seed_same_run_other_seed_another(variant):
    traces = [h.play(h.controller(variant, seed=s), h.EVENTS, {}) for s in (7, 7, 8)]
    assert traces[0] == traces[1]
    assert traces[0] != traces[2]


@ALL
def test_row_order_changes_nothing(variant):
    digests, weights = [], []
    for seed in range(3):
        c = warmed(variant)
        plan = c.plan(h.request())
        order = np.random.default_rng(seed).permutation(len(plan.prompt_R))
        order = order if seed else np.arange(len(order))
        scored = h.score(plan, order)
        weight_R = c.weigh(scored.outcome).weight_R
        c.observe(scored.outcome, scored.loss_R)
        weights.append(weight_R[np.argsort(order)])
        digests.append(c.digest())
    assert len(set(digests)) == 1
    assert all(np.array_equal(w, weights[0]) for w in weights)


EVERY = ("joint", "joint-resample", "prompt-gdro", "rollout-gdro", "rollout-exp3p-True", "uniform")


@ALL
def test_resume_is_bit_for_bit(variant, tmp_path):
    # After every event for some variants, with different plans in flight for all.
    points = range(len(h.EVENTS)) if variant in EVERY else (4, 6, 11)
    whole, plans = h.controller(variant, seed=3, prior=True), {}
    open_tickets, trace = [], []
    for i, event in enumerate(h.EVENTS):
        trace += h.play(whole, [event], plans)
        if i in points:
            whole.save(tmp_path / f"{i}.npz")
        open_tickets.append(whole.open_tickets)
    for i in points:
        resumed = h.controller(variant, seed=3, prior=True)
        assert resumed.load(tmp_path / f"{i}.npz").same
        assert trace[i].endswith(resumed.digest())
        assert resumed.open_tickets == open_tickets[i]
        assert h.play(resumed, h.EVENTS[i + 1 :], dict(plans)) == trace[i + 1 :]
        assert resumed.ledger == whole.ledger
        assert resumed.metrics() == whole.metrics()


@pytest.mark.parametrize("difficulty", sorted(h.DIFFICULTIES))
@pytest.mark.parametrize("variant", ["joint", "prompt-resample-ema-True", "rollout-exp3p-True"])
def test_resume_with_every_tracker(variant, difficulty, tmp_path):
    options = {"difficulty": h.DIFFICULTIES[difficulty], "seed": 5}
    whole, plans = h.controller(variant, **options), {}
    h.play(whole, h.EVENTS[:9], plans)
    whole.save(tmp_path / "state.npz")
    rest = h.play(whole, h.EVENTS[9:], plans)
    resumed = h.controller(variant, **options)
    resumed.load(tmp_path / "state.npz")
    assert h.play(resumed, h.EVENTS[9:], dict(plans)) == rest


@ALL
def test_state_dict_round_trip(variant):
    whole, plans = h.controller(variant), {}
    h.play(whole, h.EVENTS[:11], plans)
    twin = h.controller(variant)
    assert twin.load_state_dict(whole.state_dict()).same
    assert twin.digest() == whole.digest()
    assert h.play(twin, h.EVENTS[11:], dict(plans)) == h.play(whole, h.EVENTS[11:], plans)


@ALL
def test_state_dict_is_a_copy(variant):
    c = h.controller(variant)
    h.warm(c, 2)
    c.plan(h.request())
    state = c.state_dict()
    kept = copy.deepcopy(state)
    h.play(c, ["c2", "p"], {2: c._plans.get(2).plan})
    assert state["header"] == kept["header"]
    assert all(np.array_equal(v, kept["arrays"][k]) for k, v in state["arrays"].items())


@ALL
def test_plans_may_be_closed_out_of_order(variant):
    c = h.controller(variant)
    plans = [c.plan(h.request()) for _ in range(4)]
    for i in (2, 0, 3, 1):
        weight_R = h.close(c, plans[i])
        assert (weight_R >= 0).all() if variant in GATES else (weight_R > 0).all()
        assert i not in c.open_tickets
    assert c.open_tickets == []
    assert c.ledger.closed == 4
    assert c.ledger.rollouts == c.ledger.planned == 4 * 64


@ALL
def test_shadow_mode_acts_as_uniform_and_logs_the_strategy(variant, tmp_path):
    shadow = h.controller(variant, apply=False, log=RunLog(tmp_path))
    uniform = h.controller("uniform")
    assert not shadow.selects
    for _ in range(5):
        plan, plain = shadow.plan(h.request()), uniform.plan(h.request())
        assert np.array_equal(plan.prompt_P, plain.prompt_P)
        assert np.array_equal(plan.rollouts_P, np.full(16, 4))
        assert np.array_equal(h.close(shadow, plan), np.ones(64))
        h.close(uniform, plain)
    steps = list(read_jsonl(tmp_path / STEPS))
    assert [s["ticket"] for s in steps] == list(range(5))
    assert all(s["applied"] is False for s in steps)
    assert all(sum(s["shadow_rollouts"]) == 64 for s in steps)
    assert len(list(read_jsonl(tmp_path / GROUPS))) == 5 * 16
    # The strategy learned as if it acted.
    assert set(shadow.strategy.metrics(shadow._state)) <= set(steps[-1]["metrics"])


@pytest.mark.parametrize("text", ["dapo", "greso + knapsack + dapo", "reinforce-ada"])
def test_shadow_mode_counts_no_drops_that_did_not_happen(text):
    """Plans that a trainer extended by itself: the strategy would have kept a part of the rows."""
    c = Controller(make_strategy(text), h.problem(), apply=False)
    plan = c.plan(h.request())
    pending = c._plans.get(plan.ticket)
    pending.extend(More(plan.prompt_P, np.full(16, 4)), 1, c.belief.bin_N)
    scored = h.score(pending.plan, valid_R=np.arange(128) > 5)
    applied = c.strategy.weigh(
        c._state, c.belief, group(pending.plan, scored.outcome), np.random.default_rng(0)
    )
    assert (~applied.keep_R).sum() > 6
    assert c.weigh(scored.outcome).keep_R.sum() == 122
    c.observe(scored.outcome)
    assert c.ledger.discarded == 6  # the rows without a reward


def test_shadow_mode_leaves_the_trainers_scaling_alone():
    c = h.controller("maxrl", apply=False)
    assert c.weigh(h.score(c.plan(h.request())).outcome).scale == "trainer"


def test_shadow_mode_shows_what_the_strategy_would_have_done(tmp_path):
    c = h.controller("rollout-gdro", apply=False, log=RunLog(tmp_path))
    h.warm(c, 10)
    rows = [s["shadow_rollouts"] for s in read_jsonl(tmp_path / STEPS)]
    assert rows[0] == [4] * 16
    assert len(set(rows[-1])) > 1
    prompts = h.controller("prompt-gdro", apply=False, log=RunLog(tmp_path / "prompt"))
    h.warm(prompts, 10)
    assert list(read_jsonl(tmp_path / "prompt" / STEPS))[-1]["metrics"]["weight_max"] > 1.0


def test_shadow_rollouts_survive_a_resume(tmp_path):
    c = h.controller("rollout-gdro", apply=False, log=RunLog(tmp_path / "a"))
    h.warm(c, 8)
    plan = c.plan(h.request())
    c.save(tmp_path / "state.npz")
    h.close(c, plan)
    whole = list(read_jsonl(tmp_path / "a" / STEPS))[-1]
    resumed = h.controller("rollout-gdro", apply=False, log=RunLog(tmp_path / "b"))
    resumed.load(tmp_path / "state.npz")
    h.close(resumed, plan)
    assert list(read_jsonl(tmp_path / "b" / STEPS))[-1] == whole


@ALL
def test_config_makes_the_same_strategy_again(variant):
    name, options = h.VARIANTS[variant]
    strategy = make_strategy(name, **options)
    assert make_strategy(strategy.name, **strategy.config()) == strategy
    assert isinstance(strategy.by_bin(strategy.init(h.N, 10)), dict)


@ALL
def test_declared_roles_are_the_hooks_that_differ(variant):
    """A hook that differs without its role would never be asked for in a composition."""
    strategy = h.controller(variant).strategy
    parts = (
        [getattr(strategy, f.name) for f in fields(strategy)] if strategy.name == "joint" else [strategy]
    )
    for part in parts:
        own = {hook for hook in ("select", "allocate", "extend", "weigh") if hook in _overridden(part)}
        if {"extend", "remember"} & set(part.roles) or part.corrects_draws:
            own.discard("weigh")
        if part.name in ("prompt-gdro", "placebo-weights"):  # by its mode
            own = {"select"} if part.mode == "resample" else {"weigh"}
        assert own == set(part.roles) - {"remember"}


def _overridden(strategy):
    return {n for n in dir(Strategy) if getattr(type(strategy), n) is not getattr(Strategy, n)}
