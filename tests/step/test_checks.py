"""What the controller refuses at its boundary: budgets, requests, and what a strategy answers."""

from __future__ import annotations

import numpy as np
import pytest

import gdro
import helpers as h
from gdro import Controller, Problem, Request
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


def broken(hook, answer):
    """A strategy of a third party whose hook answers so."""

    class Broken(gdro.Strategy):
        name = "broken"
        roles = (hook,)

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
