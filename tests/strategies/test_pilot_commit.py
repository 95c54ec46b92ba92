"""Pilot-Commit by hand: who is committed, who is deferred, who is evicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from by_hand import made, outcome
from gdro import Request

WAITS, DONE, EVICTED = 0, 1, 2


def run(c, right, num, offered=None):
    """One step of four pilots a prompt; right gives the right ones of each four rollouts of a prompt."""
    plan = c.plan(Request(num, 4 * num, offered))
    pending = c._plans.get(plan.ticket)
    scored, asked = outcome(plan, right), []
    while (more := c.extend(scored)) is not None:
        asked.append(dict(zip(more.prompt_P.tolist(), more.rollouts_P.tolist(), strict=True)))
        scored = scored.joined(outcome(more, right))
    weights = c.weigh(scored)
    kept = {
        int(p): int(weights.keep_R[scored.prompt_R == p].sum()) for p in pending.plan.prompt_P.tolist()
    }
    c.observe(scored)
    return plan, asked, {p: n for p, n in kept.items() if n}


def test_undecided_prompts_get_three_pilots_more() -> None:
    """Eight pilots of four are 32 rows: two prompts of 16 fit. 1/4 to 3/4 pass, none and all do not."""
    c = made("pilot-commit", num=8)
    right = {0: 0, 1: 4, 2: 1, 3: 3, 4: 2, 5: 0, 6: 4, 7: 0}
    _, asked, kept = run(c, right, 8, np.arange(8))
    assert asked == [{2: 12, 3: 12}]
    assert kept == {2: 16, 3: 16}
    assert c.ledger.rollouts == 32 + 24 and c.ledger.discarded == 24
    # 4 passed and had no room: it waits; 1 and 6 are evicted; the rest is deferred.
    assert c._state.status_N[:].tolist() == [DONE, EVICTED, DONE, DONE, WAITS, DONE, EVICTED, DONE]
    assert c.metrics()["gdro/pilot_evicted"] == 0.25


def test_too_few_that_pass_bring_further_pilots() -> None:
    c = made("pilot-commit", num=8, max_pilots=2)
    right = {0: 0, 1: 0, 2: 0, 3: 4, 4: 2, 5: 0, 6: 0, 7: 0}
    _, asked, kept = run(c, right, 4, np.arange(4))
    assert asked == [{**dict.fromkeys(asked[0], 4)}, {4: 12}]
    assert set(asked[0]) == {4, 5, 6, 7}
    assert kept == {4: 16}
    first = made("pilot-commit", num=8, max_pilots=1)
    assert run(first, right, 4, np.arange(4))[1] == []


def test_where_no_pilot_passes_the_plan_is_trained_on() -> None:
    c = made("pilot-commit", num=8, max_pilots=2)
    _, asked, kept = run(c, dict.fromkeys(range(8), 0), 4, np.arange(4))
    assert asked == [dict.fromkeys(asked[0], 4)] and set(asked[0]) == {4, 5, 6, 7}
    assert kept == dict.fromkeys(range(4), 4)


def test_without_a_verdict_there_are_no_further_pilots() -> None:
    c = made("pilot-commit", num=8)
    plan = c.plan(Request(4, 16, np.arange(4)))
    scored = replace(outcome(plan, dict.fromkeys(range(4), 0)), judged_R=np.zeros(16, bool))
    assert c.extend(scored) is None
    assert c.weigh(scored).keep_R.all()


def test_an_epoch_ends_when_everyone_had_a_turn_and_the_evicted_stay_out() -> None:
    c = made("pilot-commit", num=6, max_pilots=1)
    right = dict.fromkeys(range(6), 0) | {0: 4}
    drawn = []
    for _ in range(3):
        plan, _, _ = run(c, right, 2)
        drawn += plan.prompt_P.tolist()
    assert sorted(drawn) == list(range(6))
    assert c._state.epochs == 1
    assert c._state.status_N[:].tolist() == [EVICTED] + [WAITS] * 5
    for _ in range(6):
        plan, _, _ = run(c, right, 2)
        assert 0 not in plan.prompt_P.tolist()
    assert sorted(c.plan(Request(6, 24)).prompt_P.tolist()) == list(range(6))  # nobody else is left


def test_evict_above_one_never_evicts() -> None:
    c = made("pilot-commit", num=4, max_pilots=1, evict=1.5)
    run(c, dict.fromkeys(range(4), 4), 2)
    assert sorted(c._state.status_N[:].tolist()) == [WAITS, WAITS, DONE, DONE]


def test_bounds_are_included() -> None:
    """A pilot of eight: 1/8 and 6/8 pass, 7/8 does not."""
    c = made("pilot-commit", num=8, max_pilots=1)
    plan = c.plan(Request(8, 64, np.arange(8)))
    more = c.extend(outcome(plan, {0: 1, 1: 6, 2: 7, **dict.fromkeys(range(3, 8), 0)}))
    assert more is not None and more.prompt_P.tolist() == [0, 1]
    assert more.rollouts_P.tolist() == [24, 24]


def test_bounds_are_included_without_rounding() -> None:
    """One right of ten is .1, which 1 - (1 - .1) is not."""
    c = made("pilot-commit", num=8, max_pilots=1, low=0.1)
    plan = c.plan(Request(8, 80, np.arange(8)))
    more = c.extend(outcome(plan, {0: 1, **dict.fromkeys(range(1, 8), 0)}))
    assert more is not None and more.prompt_P.tolist() == [0]
