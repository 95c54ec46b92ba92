"""Asynchronous training: plans closed late, out of order, twice, never, with rows that do not fit.

Forty random interleavings here; `make chaos` runs ten thousand.
"""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import gdro
import helpers as h
from gdro import Belief, Controller, Difficulty, Outcome, Problem, Request, make_strategy
from gdro.checkpoint.codec import encode
from gdro.difficulty.tracker import DifficultyTracker
from gdro.groups import group

LIMIT = 5
SEED = 11
KEYS = [f"k{i}" for i in range(14)]
STRATEGIES = (
    "uniform",
    "joint",
    "rollout-gdro(solver=exp3p) + prompt-gdro(score=exp3p)",
    "mopps(target=0.3) + rollout-gdro(n_max=8) + memory",
    "reinforce-ada + prompt-gdro",
    "dapo(refill=missing, max_num_gen_batches=3)",
)
TRACKERS = (Difficulty(), Difficulty(tracker="windowed", window=3, estimator="any", k=4))
COUNTS = ("plans", "closed", "abandoned", "planned", "rollouts", "missing", "unscored", "tokens")


def scored(ticket, round, prompt_R):
    rng = np.random.default_rng([ticket, round])
    correct_R = rng.random(len(prompt_R)) < (prompt_R + 1) / 16
    tokens_R = rng.integers(0, 9, len(prompt_R))
    return Outcome(ticket, prompt_R, correct_R * 1.0, correct_R, tokens_R=tokens_R)


def part(outcome, rows):
    fields = ("prompt_R", "reward_R", "correct_R", "tokens_R", "valid_R")
    return Outcome(outcome.ticket, **{name: getattr(outcome, name)[rows] for name in fields})


class Interleaving(RuleBasedStateMachine):
    @initialize(strategy=st.sampled_from(STRATEGIES), tracker=st.sampled_from(TRACKERS))
    def start(self, strategy, tracker):
        self.make = lambda: Controller(
            make_strategy(strategy), Problem(KEYS), seed=SEED, difficulty=tracker, max_pending=LIMIT
        )
        self.controller = self.make()
        self.rows = {}  # open tickets: all rows generated so far
        self.closings = []  # plans and outcomes, in the order of closing
        self.finished = []
        self.count = dict.fromkeys(COUNTS, 0)

    def a_ticket(self, data):
        return data.draw(st.sampled_from(sorted(self.rows)))

    def refuses(self, error, act, *args):
        before = self.controller.digest()
        try:
            act(*args)
        except error:
            assert self.controller.digest() == before
        else:
            raise AssertionError(f"{act} took what it must refuse")

    @rule(num=st.integers(1, 6), extra=st.integers(0, 5))
    def plan(self, num, extra):
        request = Request(num, 2 * num + min(extra, num))
        if len(self.rows) == LIMIT:
            self.refuses(gdro.TicketError, self.controller.plan, request)
            return
        plan = self.controller.plan(request)
        assert plan.ticket == self.count["plans"]
        assert plan.rollouts_P.sum() == request.num_rollouts
        self.rows[plan.ticket] = scored(plan.ticket, 0, plan.prompt_R)
        self.count["plans"] += 1
        self.count["planned"] += request.num_rollouts

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def extend(self, data):
        ticket = self.a_ticket(data)
        more = self.controller.extend(self.rows[ticket])
        if more is not None:
            further = scored(ticket, more.round, more.prompt_R)
            self.rows[ticket] = self.rows[ticket].joined(further)
            self.count["planned"] += len(more.prompt_R)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def weigh(self, data):
        outcome = self.rows[self.a_ticket(data)]
        weights = self.controller.weigh(outcome)
        assert weights.weight_R.shape == outcome.prompt_R.shape

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), order=st.randoms(use_true_random=False), weigh=st.booleans())
    def close(self, data, order, weigh):
        """With all rows, some, or none; in any order; some without a reward."""
        ticket = self.a_ticket(data)
        whole = self.rows.pop(ticket)
        rows = order.sample(range(len(whole.prompt_R)), order.randint(0, len(whole.prompt_R)))
        rows = np.array(rows if order.random() < 0.5 else range(len(whole.prompt_R)), np.int64)
        valid_R = np.array([order.random() < 0.8 for _ in rows], bool)
        outcome = part(whole, rows)
        reward_R = np.where(valid_R, outcome.reward_R, np.nan)
        outcome = Outcome(
            ticket, outcome.prompt_R, reward_R, outcome.correct_R, outcome.tokens_R, valid_R
        )
        if weigh:
            self.controller.weigh(outcome)
        plan = self.controller._plans.get(ticket).plan
        self.controller.observe(outcome)
        self.closings.append((plan, outcome))
        self.finish(ticket, "closed", int(plan.rollouts_P.sum()) - len(rows))
        self.count["rollouts"] += len(rows)
        self.count["unscored"] += int((~valid_R).sum())
        self.count["tokens"] += int(outcome.tokens_R.sum())

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def abandon(self, data):
        ticket = self.a_ticket(data)
        planned = int(self.controller._plans.get(ticket).plan.rollouts_P.sum())
        del self.rows[ticket]
        self.controller.abandon(ticket)
        self.finish(ticket, "abandoned", planned)

    def finish(self, ticket, how, missing):
        self.finished.append(ticket)
        self.count[how] += 1
        self.count["missing"] += missing

    @rule(data=st.data(), unknown=st.sampled_from([-1, 10_000]))
    def ticket_twice_or_never_given_out(self, data, unknown):
        ticket = data.draw(st.sampled_from([*self.finished[-5:], unknown]))
        outcome = Outcome(ticket, np.zeros(1, np.int64), [0.0], [False])
        for act in (self.controller.weigh, self.controller.extend, self.controller.observe):
            self.refuses(gdro.TicketError, act, outcome)
        self.refuses(gdro.TicketError, self.controller.abandon, ticket)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def row_twice(self, data):
        outcome = self.rows[self.a_ticket(data)]
        twice = part(outcome, np.append(np.arange(len(outcome.prompt_R)), 0))
        for act in (self.controller.weigh, self.controller.observe):
            self.refuses(gdro.OutcomeError, act, twice)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def row_of_another_prompt(self, data):
        ticket = self.a_ticket(data)
        # Extensions may have taken the whole pool: then one from outside of it.
        others = np.setdiff1d(np.arange(len(KEYS) + 1), self.rows[ticket].prompt_R)
        foreign = scored(ticket, 0, np.append(self.rows[ticket].prompt_R, others[0]))
        for act in (self.controller.weigh, self.controller.observe):
            self.refuses(gdro.OutcomeError, act, foreign)

    @rule()
    def resume(self):
        before, state = self.controller.digest(), self.controller.state_dict()
        self.controller = self.make()
        self.controller.load_state_dict(state)
        assert self.controller.digest() == before

    @invariant()
    def each_ticket_is_open_or_closed_once(self):
        assert self.controller.open_tickets == sorted(self.rows)
        assert len(self.rows) <= LIMIT
        assert len(set(self.finished)) == len(self.finished)

    @invariant()
    def the_ledger_is_exact(self):
        ledger = self.controller.ledger
        assert {name: getattr(ledger, name) for name in COUNTS} == self.count
        open_rollouts = sum(int(self.controller._plans.get(t).plan.rollouts_P.sum()) for t in self.rows)
        assert ledger.planned == ledger.rollouts + ledger.missing + open_rollouts

    def teardown(self):
        """Beliefs and the strategy's state are those of a replay of the closings, one by one."""
        if not hasattr(self, "controller"):
            return
        strategy, difficulty = self.controller.strategy, self.controller.difficulty
        tracker = DifficultyTracker(difficulty, Problem(KEYS))
        state = strategy.init(len(KEYS), tracker.binning.num_bins)
        for plan, outcome in self.closings:
            groups = group(plan, outcome)
            state = strategy.update(state, Belief(tracker), groups)
            seen_P = groups.scored_P
            tracker.record(plan.prompt_P[seen_P], groups.successes_P[seen_P], groups.trials_P[seen_P])
        replayed = encode(state, "strategy")
        replayed |= {f"difficulty/{name}": array for name, array in tracker.arrays().items()}
        arrays = self.controller.state_dict()["arrays"]
        for name, array in replayed.items():
            assert np.array_equal(array, arrays[name]), name


TestInterleavings = Interleaving.TestCase


def test_memory_of_plans_in_flight_is_bounded():
    """What the docs state: at most `max_pending` plans, each with its rows."""
    controller = Controller(make_strategy("joint"), Problem(h.KEYS), max_pending=7)
    for _ in range(7):
        outcome = h.score(controller.plan(h.request())).outcome
        controller.weigh(outcome)
    with h.raises(gdro.TicketError, "7 plans", "max_pending is 7", "observe", "abandon"):
        controller.plan(h.request())
    arrays = controller.state_dict()["arrays"]
    saved = [array.nbytes for name, array in arrays.items() if name.startswith("pending/")]
    assert sum(saved) <= 7 * (16 * 48 + 10 * 8 + 64)


DEFAULT = "rollout-gdro + memory"


@pytest.mark.parametrize("size", [(16, 64), (256, 1024), (256, 1536)])
@pytest.mark.parametrize("strategy", ["uniform", "joint", "reinforce-ada + prompt-gdro", DEFAULT])
def test_plans_in_flight_hold_what_the_docs_state(strategy, size):
    """All that a weighed plan keeps in memory, not only what a checkpoint saves of it."""
    plans, request = 10, Request(*size)
    pool = Problem([f"k{i}" for i in range(2000)])
    controller = Controller(make_strategy(strategy), pool, max_pending=plans)
    rng = np.random.default_rng(0)

    def weighed():
        plan = controller.plan(request)
        correct_R = rng.random(request.num_rollouts) < 0.4
        outcome = Outcome(plan.ticket, plan.prompt_R, correct_R * 1.0, correct_R, tokens_R=correct_R + 9)
        controller.weigh(outcome)
        return outcome

    for _ in range(12):  # the memory and the caches of the code fill
        controller.observe(weighed())
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(plans):
            weighed()
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] / plans
    finally:
        tracemalloc.stop()
    prompts, rollouts = size
    most = 4096 + 80 * prompts + 128 * rollouts
    assert 26 * rollouts < held < most, f"{held:.0f} bytes a plan, the docs state {most}"
