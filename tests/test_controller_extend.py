"""Extensions: rounds, fresh prompts, the ledger, resume, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import ClassVar

import numpy as np
import pytest

import helpers as h
from gdro import (
    Controller,
    More,
    Outcome,
    Problem,
    Request,
    Strategy,
    StrategyError,
    Weights,
    make_strategy,
)
from gdro.step.in_flight import rounded_up


@dataclass(frozen=True)
class Scripted(Strategy):
    """Asks for what it is told, round by round."""

    name: ClassVar[str] = "scripted"
    script: tuple = ()
    keep: int | None = None

    @property
    def roles(self):
        return ("extend",)

    def extend(self, state, belief, groups, round, rng):
        if round >= len(self.script):
            return None
        prompt_P, rollouts_P = zip(*self.script[round].items(), strict=True)
        return More(np.array(prompt_P), np.array(rollouts_P))

    def weigh(self, state, belief, groups, rng):
        rows = len(groups.position_R)
        keep_R = np.arange(rows) < (groups.plan.num_rollouts if self.keep is None else self.keep)
        return Weights(np.ones(rows), keep_R)


def scripted(*script, **options):
    return Controller(Scripted(script=script, **options), Problem(h.KEYS))


def rows(ticket, prompt_R, right=True):
    prompt_R = np.asarray(prompt_R)
    right_R = np.full(len(prompt_R), right)
    return Outcome(ticket, prompt_R, right_R * 1.0, right_R, tokens_R=np.full(len(prompt_R), 10))


def run(c, request):
    """One whole step; the extensions and the outcome."""
    plan = c.plan(request)
    outcome, found = rows(plan.ticket, plan.prompt_R), []
    while (extension := c.extend(outcome)) is not None:
        found.append(extension)
        outcome = outcome.joined(rows(plan.ticket, extension.prompt_R, right=False))
    weights = c.weigh(outcome)
    c.observe(outcome)
    return found, outcome, weights


def test_rounds_add_to_planned_and_fresh_prompts():
    c = scripted({3: 2, 50: 4}, {50: 1})
    found, outcome, weights = run(c, Request(2, 8, np.array([3, 7])))
    assert [e.round for e in found] == [1, 2]
    assert [e.prompt_R.tolist() for e in found] == [[3, 3, 50, 50, 50, 50], [50]]
    assert [e.bin_P.tolist() for e in found] == [[-1, -1], [-1]]
    assert len(outcome.prompt_R) == 15
    assert weights.keep_R.sum() == 8
    ledger = c.ledger.as_dict()
    assert (ledger["planned"], ledger["rollouts"], ledger["discarded"]) == (15, 15, 7)
    assert (ledger["missing"], ledger["tokens"]) == (0, 150)
    # Beliefs learn from every rollout, dropped ones too.
    assert c.belief.counts(np.array([3, 7, 50]))[1].tolist() == [2.0, 0.0, 5.0]
    assert c.belief.visits_N[[3, 7, 50]].tolist() == [1, 1, 1]


def test_shadow_mode_never_extends():
    c = Controller(Scripted(script=({3: 2},)), Problem(h.KEYS), apply=False)
    plan = c.plan(Request(2, 8))
    assert c.extend(rows(plan.ticket, plan.prompt_R)) is None


def test_a_plan_is_resumed_between_rounds(tmp_path):
    whole = Controller(make_strategy("reinforce-ada"), Problem(h.KEYS), seed=4)
    plan = whole.plan(h.request())
    first = h.score(plan, valid_R=np.ones(64, bool)).outcome
    extension = whole.extend(first)
    whole.save(tmp_path / "state.npz")
    resumed = Controller(make_strategy("reinforce-ada"), Problem(h.KEYS), seed=4)
    resumed.load(tmp_path / "state.npz")
    more = replace(rows(plan.ticket, extension.prompt_R))
    outcome = first.joined(more)
    found = [c.extend(outcome) for c in (whole, resumed)]
    assert found[0].round == found[1].round == 2
    assert np.array_equal(found[0].prompt_R, found[1].prompt_R)
    for c in (whole, resumed):
        c.weigh(outcome)
        c.observe(outcome)
    assert whole.digest() == resumed.digest()
    assert whole.ledger == resumed.ledger


def test_two_controllers_ask_alike_and_rounds_differ():
    asked = []
    for _ in range(2):
        c = Controller(make_strategy("dapo", refill="missing"), Problem(h.KEYS), seed=2)
        plan = c.plan(Request(4, 16))
        outcome = rows(plan.ticket, plan.prompt_R)
        rounds = []
        for _ in range(3):
            extension = c.extend(outcome)
            rounds.append(extension.prompt_P.tolist())
            outcome = outcome.joined(rows(plan.ticket, extension.prompt_R))
        asked.append(rounds)
    assert asked[0] == asked[1]
    everything = [*plan.prompt_P.tolist(), *chain(*asked[0])]
    assert len(set(everything)) == len(everything), "fresh prompts are new to the plan"


@pytest.mark.parametrize(
    ("script", "match"),
    [
        ({60: 1}, "pool has 60"),
        ({-1: 1}, "pool has 60"),
        ({1: 0}, "at least 1"),
    ],
)
def test_bad_extensions_are_refused(script, match):
    c = scripted(script)
    plan = c.plan(Request(2, 8))
    with pytest.raises(StrategyError, match=match):
        c.extend(rows(plan.ticket, plan.prompt_R))
    # Nothing is lost: the plan can still be closed.
    c.observe(rows(plan.ticket, plan.prompt_R))
    assert c.ledger.planned == 8


def test_keeping_more_than_the_loss_takes_is_refused():
    c = scripted({3: 2}, keep=9)
    plan = c.plan(Request(2, 8))
    outcome = rows(plan.ticket, plan.prompt_R)
    extension = c.extend(outcome)
    with pytest.raises(StrategyError, match="keeps 9 rows"):
        c.weigh(outcome.joined(rows(plan.ticket, extension.prompt_R)))


def test_rounds_are_bounded():
    c = scripted(*({3: 1} for _ in range(1001)))
    plan = c.plan(Request(2, 8))
    outcome = rows(plan.ticket, plan.prompt_R)
    with pytest.raises(StrategyError, match="bound the rounds"):
        while (extension := c.extend(outcome)) is not None:
            outcome = outcome.joined(rows(plan.ticket, extension.prompt_R))


def test_extensions_fill_whole_ranks():
    more = More(np.array([5, 9]), np.array([2, 1]))
    assert rounded_up(more, 1) is more
    assert rounded_up(more, 4).rollouts_P.tolist() == [3, 1]
    assert rounded_up(more, 8).rollouts_P.tolist() == [5, 3]
