"""Groups that are allocated, and adopted by plans in parts, in any order, or evicted: every strategy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import helpers as h
from gdro import Controller, Outcome, Request, RunLog, make_strategy
from gdro.groups import group
from gdro.log.run_log import STEPS, read_jsonl

ALL = pytest.mark.parametrize("variant", sorted(h.VARIANTS))
ACTIONS = ("allocate", "allocate", "adopt", "adopt", "evict")


def some(c: Controller, rng: np.random.Generator) -> np.ndarray:
    """Some open groups, in any order."""
    return rng.permutation(c.open_groups.group_P)[: int(rng.integers(1, 12))]


def train(c: Controller, groups: np.ndarray) -> Outcome:
    """Adopt groups, and close their plan with a part of its rows."""
    plan = c.adopt(groups)
    scored = h.score(plan)
    back = np.random.default_rng(plan.ticket).random(len(plan.prompt_R)) < 0.9
    names = ("prompt_R", "reward_R", "correct_R", "tokens_R", "valid_R")
    outcome = Outcome(plan.ticket, **{n: getattr(scored.outcome, n)[back] for n in names})
    weight_R = c.weigh(outcome).weight_R
    assert np.isfinite(weight_R).all() and (weight_R >= 0).all()
    c.observe(outcome, scored.loss_R[back])
    return outcome


def act(c: Controller, action: str, rng: np.random.Generator) -> str:
    """One event of an asynchronous trainer, and the state after it."""
    given: object = None
    if action == "allocate" or not len(c.open_groups.group_P):
        allocation = c.allocate(h.request(num_prompts=int(rng.integers(1, 17))))
        given = allocation.prompt_P.tolist(), allocation.rollouts_P.tolist()
    elif action == "adopt":
        train(c, some(c, rng))
    else:
        c.evict(some(c, rng))
    return f"{given} {c.digest()}"


def history(c: Controller, seed: int, num: int = 14) -> list[str]:
    rng = np.random.default_rng(seed)
    return [act(c, str(rng.choice(ACTIONS)), rng) for _ in range(num)]


@ALL
def test_an_allocation_spends_a_request_exactly_and_opens_no_ticket(variant):
    c = h.controller(variant)
    h.warm(c, 3)
    low, high = h.bounds(c.strategy)
    seen = set()
    for _ in range(3):
        allocation = c.allocate(h.request())
        assert allocation.rollouts_P.sum() == 64
        assert low <= allocation.rollouts_P.min() <= allocation.rollouts_P.max() <= (high or 64)
        assert len(np.unique(allocation.prompt_P)) == 16
        seen |= set(allocation.group_P.tolist())
    assert len(seen) == 48 and sorted(seen) == c.open_groups.group_P.tolist()
    assert c.open_tickets == [] and c.ledger.plans == 3


@ALL
def test_an_adopted_plan_is_what_was_allocated(variant):
    """Bins, importance and mass are those of the allocation, whatever was trained since."""
    c = h.controller(variant, prior=True)
    h.warm(c, 3)
    bin_N = c.belief.bin_N.copy()
    twin = c.plan(h.request())
    c.abandon(twin.ticket)
    first = c.allocate(h.request())
    h.warm(c, 2)
    order = np.random.default_rng(0).permutation(16)
    plan = c.adopt(first.group_P[order])
    assert np.array_equal(plan.prompt_P, first.prompt_P[order])
    assert np.array_equal(plan.rollouts_P, first.rollouts_P[order])
    assert np.array_equal(plan.bin_P, bin_N[plan.prompt_P])
    assert (plan.num_prompts, plan.num_rollouts) == (16, 64)
    assert np.allclose(plan.mass_B, twin.mass_B)
    assert c.open_tickets == [plan.ticket] and not len(c.open_groups.group_P)
    h.close(c, plan)


@ALL
@settings(max_examples=3)
@given(seed=st.integers(0, 2**31))
def test_books_balance_and_only_trained_groups_move_beliefs(variant, seed):
    c, rng = h.controller(variant), np.random.default_rng(seed)
    expected = dict.fromkeys(("planned", "evicted", "rollouts", "missing", "duplicates"), 0)
    visits_N, open_rollouts = np.zeros(h.N, np.int64), {}
    prompt_of: dict[int, int] = {}
    for action in rng.choice(ACTIONS, 12):
        if action == "allocate" or not len(c.open_groups.group_P):
            a = c.allocate(h.request(num_prompts=int(rng.integers(1, 17))))
            open_rollouts |= zip(a.group_P.tolist(), a.rollouts_P.tolist(), strict=True)
            prompt_of |= zip(a.group_P.tolist(), a.prompt_P.tolist(), strict=True)
            expected["planned"] += int(a.rollouts_P.sum())
            continue
        groups = some(c, rng)
        rollouts = sum(open_rollouts.pop(g) for g in groups.tolist())
        before = c.belief.visits_N.copy()
        if action == "evict":
            c.evict(groups)
            expected["evicted"] += rollouts
            assert np.array_equal(c.belief.visits_N, before)
            continue
        outcome = train(c, groups)
        prompts = {prompt_of[g] for g in groups.tolist()}
        expected["rollouts"] += len(outcome.prompt_R)
        expected["missing"] += rollouts - len(outcome.prompt_R)
        expected["duplicates"] += len(groups) - len(prompts)
        visits_N[np.unique(outcome.prompt_R[outcome.judged_R])] += 1
        assert set(np.flatnonzero(c.belief.visits_N - before).tolist()) <= prompts
    found = c.ledger.as_dict()
    assert {name: found[name] for name in expected} == expected
    assert found["planned"] == (
        found["rollouts"] + found["missing"] + found["evicted"] + sum(open_rollouts.values())
    )
    assert found["plans"] == found["closed"]
    assert np.array_equal(c.belief.visits_N, visits_N)


@ALL
def test_same_seed_same_history_and_resume_is_bit_for_bit(variant, tmp_path):
    whole = history(h.controller(variant, seed=3), seed=5)
    assert whole == history(h.controller(variant, seed=3), seed=5)
    c, rng = h.controller(variant, seed=3), np.random.default_rng(5)
    for number in range(14):
        if number in (4, 9):
            c.save(tmp_path / "state.npz")
            c = h.controller(variant, seed=3)
            assert c.load(tmp_path / "state.npz").same
        assert act(c, str(rng.choice(ACTIONS)), rng) == whole[number]
    assert history(h.controller(variant, seed=4), seed=5) != whole


@ALL
def test_a_prompt_with_two_groups_is_one_visit_of_both(variant):
    c = h.controller(variant)
    h.warm(c, 2)
    offered = np.arange(8)
    a, b = (c.allocate(Request(8, 32, offered)) for _ in range(2))
    before = c.belief.visits_N.copy()
    plan = c.adopt(np.concatenate([b.group_P, a.group_P[:4]]))
    assert plan.prompt_P.tolist() == offered.tolist() and plan.num_prompts == 8
    both = b.rollouts_P + np.where(offered < 4, a.rollouts_P, 0)
    assert np.array_equal(plan.rollouts_P, both) and plan.num_rollouts == both.sum()
    assert np.array_equal(plan.first_P, b.rollouts_P)
    scored = h.score(plan, valid_R=np.ones(plan.num_rollouts, bool))
    c.weigh(scored.outcome)
    c.observe(scored.outcome, scored.loss_R)
    assert (c.belief.visits_N - before)[:8].tolist() == [1] * 8
    assert c.ledger.duplicates == 4
    assert c.ledger.missing == 0 and c.open_groups.group_P.tolist() == a.group_P[4:].tolist()


def test_shadow_mode_allocates_evenly_and_logs_what_the_strategy_would_have(tmp_path):
    c = h.controller("rollout-gdro", apply=False, log=RunLog(tmp_path))
    h.warm(c, 6)
    allocation = c.allocate(h.request())
    assert allocation.rollouts_P.tolist() == [4] * 16
    h.close(c, c.adopt(allocation.group_P[:10]))
    last = list(read_jsonl(tmp_path / STEPS))[-1]
    assert len(last["shadow_rollouts"]) == 10 and len(set(last["shadow_rollouts"])) > 1
    assert last["ledger"]["allocations"] == 1


def test_without_randomness_an_allocation_equals_a_plan():
    """Without randomness the two ways decide alike, and so does what follows from them."""
    ways = []
    for adopts in (False, True):
        c = Controller(make_strategy("rollout-gdro + prompt-gdro"), h.problem())
        for step in range(6):
            request = Request(16, 64, np.random.default_rng(step).permutation(h.N)[:16])
            plan = c.adopt(c.allocate(request).group_P) if adopts else c.plan(request)
            ways.append((adopts, plan.rollouts_P.tolist(), h.close(c, plan).tolist()))
    assert [w[1:] for w in ways[:6]] == [w[1:] for w in ways[6:]]
    assert len({tuple(w[1]) for w in ways}) > 1


def test_rows_beyond_what_a_group_was_given_are_refused():
    c = h.controller()
    plan = c.adopt(c.allocate(h.request()).group_P[:2])
    extra = np.repeat(plan.prompt_P, 5)
    with h.raises(ValueError, "5 rows", "4 were planned"):
        group(plan, Outcome(plan.ticket, extra, np.zeros(10), np.zeros(10, bool)))
