"""Bad input is an error of the right class that says what was got, what is allowed, the fix."""

from __future__ import annotations

import numpy as np
import pytest

import gdro
import helpers as h
from gdro import Controller, Outcome, Problem, Request, make_strategy
from helpers import raises


@pytest.mark.parametrize("variant", ["rollout-gdro", "joint", "rollout-exp3p-True"])
@pytest.mark.parametrize("total", [16 * 2 - 1, 16 * 12 + 1])
def test_infeasible_budget(variant, total):
    c = h.controller(variant)
    before = c.digest()
    with raises(gdro.BudgetError, str(total), "16 prompts", "2..12", "32..192", "change"):
        c.plan(Request(16, total))
    assert c.digest() == before
    assert c.plan(Request(16, 32)).ticket == 0


def test_fewer_rollouts_than_prompts():
    with raises(gdro.RequestError, "3 rollouts", "4 prompts", "at least one"):
        h.controller().plan(Request(4, 3))


def test_budget_that_whole_bins_cannot_spend():
    c = h.controller("rollout-discovery-bin-False", prior=True)
    seen = np.flatnonzero(c.belief.bin_N == 9)[:4]
    assert len(seen) == 4
    before = c.digest()
    with raises(gdro.BudgetError, "exactly 17", "nearest below: 16", "split=True"):
        c.plan(Request(4, 17, seen))
    assert c.digest() == before
    assert c.plan(Request(4, 16, seen)).rollouts_P.tolist() == [4] * 4


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_prompts": 0, "num_rollouts": 4}, ["num_prompts is 0", "at least 1"]),
        ({"num_prompts": 1, "num_rollouts": -4}, ["num_rollouts is -4", "at least 1"]),
        ({"offered_P": [3, 5, 3]}, ["prompt 3", "more than once", "merge"]),
        ({"offered_P": [3, 5]}, ["2 prompts", "num_prompts is 3", "agree"]),
        ({"offered_P": [0.0, 1.0, 2.0]}, ["offered_P", "integers", "float64", "indices"]),
        ({"offered_P": [[0, 1, 2]]}, ["1-D", r"\(1, 3\)"]),
    ],
)
def test_bad_request(fields, words):
    with raises(gdro.RequestError, *words):
        Request(**({"num_prompts": 3, "num_rollouts": 12} | fields))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(61, 244), ["61", "pool has 60", "at most 60"]),
        (Request(2, 8, [0, 60]), ["0..60", "0..59"]),
        (Request(2, 8, [-1, 4]), ["-1..4", "0..59"]),
    ],
)
@pytest.mark.parametrize("variant", ["uniform", "joint", "prompt-resample-ema-False"])
def test_request_outside_the_pool(variant, request_, words):
    with raises(gdro.RequestError, *words):
        h.controller(variant).plan(request_)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt_keys": []}, ["empty", "at least one"]),
        ({"prompt_keys": ["a", "b", "a"]}, ["'a'", "more than once", "drop duplicate"]),
        ({"prompt_keys": ["a", None]}, [r"prompt_keys\[1\]", "None", "string", "fill"]),
        ({"prompt_keys": ["a", ""]}, [r"prompt_keys\[1\]", "non-empty"]),
        ({"prompt_keys": [1, 2]}, [r"prompt_keys\[0\] is 1", "str"]),
        ({"prior_N": [0.5]}, [r"\(1,\)", r"\(2,\)"]),
        ({"prior_N": [0.5, 8.0]}, [r"\[0, 1\]", "rates, not counts"]),
        ({"prior_N": [0.5, np.inf]}, [r"\[0, 1\]"]),
    ],
)
def test_bad_pool(fields, words):
    with raises(gdro.ProblemError, *words):
        Problem(**({"prompt_keys": ["a", "b"]} | fields))


def rows(**changes):
    fields = {"prompt_R": [0, 0, 1], "reward_R": [0.0, 1.0, 0.0], "correct_R": [False, True, False]}
    return Outcome(0, **(fields | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reward_R": [0.0, 1.0]}, ["reward_R", r"\(2,\)", r"\(3,\)"]),
        ({"correct_R": [True]}, ["correct_R", r"\(1,\)", "one value"]),
        ({"tokens_R": [1, 2]}, ["tokens_R", r"\(2,\)"]),
        ({"valid_R": [True, True]}, ["valid_R", r"\(2,\)"]),
        ({"reward_R": [0.0, np.nan, 0.0]}, [r"reward_R\[1\]", "prompt 0", "nan", "valid_R"]),
        ({"reward_R": [0.0, 0.0, np.inf]}, [r"reward_R\[2\]", "prompt 1", "inf", "finite"]),
        ({"correct_R": [0.0, 0.4, 1.0]}, ["correct_R", "0.4", "boolean", "threshold"]),
        ({"correct_R": [0.0, np.nan, 1.0]}, ["correct_R", "nan", "boolean"]),
        ({"valid_R": [0, 1, 2]}, ["valid_R", "2", "boolean"]),
        ({"prompt_R": [0.0, 0.0, 1.0]}, ["prompt_R", "integers", "float64"]),
        ({"tokens_R": [1.5, 2.0, 2.0]}, ["tokens_R", "integers"]),
    ],
)
def test_bad_outcome(changes, words):
    with raises(gdro.OutcomeError, *words):
        rows(**changes)


@pytest.mark.parametrize("variant", ["uniform", "joint", "rollout-exp3p-True", "prompt-gdro"])
@pytest.mark.parametrize(
    "fault", ["unplanned", "too many", "loss length", "loss nan", "loss inf", "ticket"]
)
def test_bad_outcome_leaves_the_plan_open(variant, fault):
    c = h.controller(variant)
    h.warm(c, 3)
    plan = c.plan(h.request())
    good = h.score(plan)
    outcome, loss_R, error = good.outcome, good.loss_R, gdro.OutcomeError
    prompt_R = plan.prompt_R.copy()
    first, other = plan.prompt_P[0], np.setdiff1d(np.arange(h.N), plan.prompt_P)[0]
    if fault == "unplanned":
        prompt_R[5] = other
        words = [f"ticket {plan.ticket}", f"prompt {other}", "planned prompt"]
    elif fault == "too many":
        prompt_R[-1] = first
        words = [f"prompt {first}", "rows", f"{plan.rollouts_P[0]} were planned", "once"]
    elif fault == "loss length":
        loss_R, words = loss_R[:-1], ["loss_R", r"\(63,\)", r"\(64,\)"]
    elif fault.startswith("loss"):
        loss_R = loss_R.copy()
        loss_R[np.flatnonzero(outcome.valid_R)[0]] = float(fault[5:])
        words = ["loss_R", "finite"]
    else:
        outcome, error = h.score(plan).outcome, gdro.TicketError
        object.__setattr__(outcome, "ticket", 99)
        words = ["ticket 99", "never given out", str(plan.ticket)]
    if not np.array_equal(prompt_R, plan.prompt_R):
        outcome = h.score(plan, prompt_R=prompt_R).outcome
    before = c.digest()
    with raises(error, *words):
        c.observe(outcome, loss_R)
    if not fault.startswith("loss"):
        with raises(error, *words):
            c.weigh(outcome)
    assert c.digest() == before
    c.observe(good.outcome, good.loss_R)
    assert c.open_tickets == []


def test_surrogate_needs_losses():
    c = h.controller("prompt-surrogate-ema-mean_one")
    h.warm(c, 3)
    plan = c.plan(h.request())
    scored = h.score(plan)
    before = c.digest()
    with raises(gdro.OutcomeError, "surrogate", "loss_R", "signal='failure'"):
        c.observe(scored.outcome)
    assert c.digest() == before
    c.observe(scored.outcome, scored.loss_R)
    assert c.ledger.closed == 4


def test_visit_too_large_for_a_window():
    c = Controller(make_strategy("uniform"), h.problem(), difficulty=h.DIFFICULTIES["windowed"])
    plan = c.plan(Request(1, 300))
    before = c.digest()
    scored = h.score(plan, valid_R=np.ones(300, bool))
    with raises(gdro.OutcomeError, "300", "255", "decayed"):
        c.observe(scored.outcome)
    assert c.digest() == before
    c.abandon(plan.ticket)


def test_ticket_closed_twice_or_abandoned_twice():
    c = h.controller()
    plan = c.plan(h.request())
    h.close(c, plan)
    before = c.digest()
    for act in (c.weigh, c.observe):
        with raises(gdro.TicketError, "ticket 0", "closed already", "once"):
            act(h.score(plan).outcome)
    with raises(gdro.TicketError, "ticket 0", "closed already"):
        c.abandon(0)
    with raises(gdro.TicketError, "ticket -1", "never given out"):
        c.abandon(-1)
    assert c.digest() == before


def test_max_pending():
    c = h.controller(max_pending=2)
    c.plan(h.request())
    c.plan(h.request())
    before = c.digest()
    with raises(gdro.TicketError, "2 plans", "max_pending is 2", "observe", "abandon"):
        c.plan(h.request())
    assert c.digest() == before
    c.abandon(0)
    assert c.plan(h.request()).ticket == 2


def test_errors_are_value_errors():
    for name in gdro.__all__:
        cls = getattr(gdro, name)
        if isinstance(cls, type) and issubclass(cls, Exception):
            assert issubclass(cls, gdro.GdroError)
    assert issubclass(gdro.GdroError, ValueError)


def broken(hook, answer):
    """A strategy of a third party whose hook answers so."""

    class Broken(gdro.Strategy):
        name = "broken"
        roles = ("select", "allocate", "extend")

    setattr(Broken, hook, lambda self, *given: answer)
    return Controller(Broken(), Problem(h.KEYS))


@pytest.mark.parametrize(
    ("hook", "answer", "words"),
    [
        # Cut off, the fractions would leave the total at 5.
        ("allocate", np.array([2.5, 2.5, 1.0]), ["'broken'", "allocate", "float64", "integers"]),
        ("allocate", [[2, 2, 2]], ["'broken'", "allocate", r"\(1, 3\)"]),
        ("select", np.array([0.5, 1.0, 2.0]), ["'broken'", "select", "float64", "integers"]),
        ("select", np.array([3, 5, 3]), ["'broken'", "a prompt twice", "select", "distinct"]),
        ("select", np.array([3, 5]), ["'broken'", "2 prompts, asked for 3", "select"]),
        ("select", np.array([3, 5, 60]), ["'broken'", "prompt 60", "0..59", "select"]),
        ("extend", gdro.More(np.array([3]), np.array([2.5])), ["'broken'", "extend", "integers"]),
    ],
)
def test_a_strategy_that_answers_badly_is_named(hook, answer, words):
    c = broken(hook, answer)
    before = c.digest()
    with raises(gdro.StrategyError, *words) as caught:
        plan = c.plan(Request(3, 6))
        assert hook == "extend"
        c.extend(h.score(plan, plain=True).outcome)
    assert "offered_P" not in str(caught.value)
    assert hook == "extend" or c.digest() == before


def test_a_strategy_may_answer_with_a_list():
    assert broken("allocate", [3, 2, 1]).plan(Request(3, 6)).rollouts_P.tolist() == [3, 2, 1]
