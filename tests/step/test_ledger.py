"""The ledger: nothing that was planned is lost from the books."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import helpers as h
from gdro import Outcome
from gdro.step.ledger import Ledger


@given(st.integers(0, 10**6), st.sampled_from(["uniform", "joint", "prompt-resample-ema-False"]))
def test_books_balance(seed, variant):
    rng = np.random.default_rng(seed)
    c = h.controller(variant)
    open_plans, tally = {}, Ledger()
    for _ in range(15):
        action = rng.choice(["plan", "plan", "close", "abandon"])
        if action == "plan" or not open_plans:
            plan = c.plan(h.request(num_prompts=int(rng.integers(1, 9))))
            open_plans[plan.ticket] = plan
            tally.plans += 1
            tally.planned += len(plan.prompt_R)
            continue
        plan = open_plans.pop(int(rng.choice(list(open_plans))))
        size = len(plan.prompt_R)
        if action == "abandon":
            c.abandon(plan.ticket)
            tally.abandoned += 1
            tally.missing += size
            continue
        back = np.flatnonzero(rng.random(size) < 0.8)
        o = h.score(plan).outcome
        names = ("prompt_R", "reward_R", "correct_R", "tokens_R", "valid_R")
        outcome = Outcome(plan.ticket, **{n: getattr(o, n)[back] for n in names})
        weighed = bool(rng.random() < 0.7)
        if weighed:
            weights = c.weigh(outcome)
            tally.discarded += int((~weights.keep_R).sum())
        c.observe(outcome)
        tally.closed += 1
        tally.rollouts += len(back)
        tally.missing += size - len(back)
        tally.unscored += int((~outcome.valid_R).sum())
        tally.tokens += int(outcome.tokens_R.sum())
    assert c.ledger == tally
    in_flight = sum(len(p.prompt_R) for p in open_plans.values())
    assert tally.planned == tally.rollouts + tally.missing + in_flight
    assert tally.plans == tally.closed + tally.abandoned + len(open_plans)
    assert c.open_tickets == sorted(open_plans)


def test_metrics_carry_the_ledger():
    c = h.controller("joint")
    h.warm(c, 2)
    found = c.metrics()
    for name, value in c.ledger.as_dict().items():
        assert found[f"gdro/total_{name}"] == value
    assert all(k.startswith("gdro/") and isinstance(v, float) for k, v in found.items())


def test_step_metrics_by_hand():
    c = h.controller()
    plan = c.plan(h.request(num_prompts=4))
    correct = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]]).ravel()
    c.observe(Outcome(plan.ticket, plan.prompt_R, correct * 2.0 - 1.0, correct))
    found = c.metrics()
    expected = {"pass_rate": 7 / 16, "reward": -1 / 8, "all_right": 0.25, "all_wrong": 0.25}
    expected |= {"mixed": 0.5, "unseen": 1.0, "rollouts_mean": 4.0, "weight_max": 1.0}
    for name, value in expected.items():
        assert found[f"gdro/{name}"] == pytest.approx(value)
