"""An outcome that is refused leaves the plan open and the controller as it was."""

from __future__ import annotations

import numpy as np
import pytest

import gdro
import helpers as h
from gdro import Controller, Request, make_strategy
from helpers import raises


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
        words = ["ticket 99", "never issued", str(plan.ticket)]
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
