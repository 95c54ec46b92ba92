"""An extender beside an allocator or a weigher: nothing generated to be dropped, weights of mean one."""

from __future__ import annotations

import numpy as np
import pytest

import helpers as h
from gdro import Controller, Outcome, Request, StrategyError, make_strategy


def extended(c, plan, right, multiple=1):
    """All rows of a plan whose prompt `i` has its first `right(i)` rollouts of each round right."""

    def scored(part):
        right_R = np.concatenate(
            [np.arange(n) < right(i) for i, n in zip(part.prompt_P, part.rollouts_P, strict=True)]
        )
        return Outcome(plan.ticket, part.prompt_R, right_R * 1.0, right_R)

    outcome = scored(plan)
    while (more := c.extend(outcome, multiple)) is not None:
        outcome = outcome.joined(scored(more))
    return outcome


@pytest.mark.parametrize("extender", ["speed", "reinforce-ada"])
@pytest.mark.parametrize("allocator", ["rollout-gdro", "rollout-gdro(solver=exp3p)", "hora"])
def test_what_needs_equal_groups_refuses_an_allocator(extender, allocator):
    with h.raises(StrategyError, extender, "equal size", "drop one", "dapo"):
        make_strategy(f"{extender} + {allocator}")
    with h.raises(StrategyError, extender, "allocator='uniform'"):
        make_strategy("joint", extender=extender)
    assert make_strategy(f"{extender} + prompt-gdro").allocator.name == "uniform"


def test_dapo_keeps_what_was_allocated():
    """Mixed groups whole, with the rollouts that they were given, then fresh ones of the mean size."""
    c = Controller(make_strategy("dapo + rollout-gdro(n_max=8)"), h.problem(prior=True), seed=3)
    h.warm(c, 4)
    plan = c.plan(h.request())
    assert len(np.unique(plan.rollouts_P)) > 2
    outcome = extended(c, plan, lambda i: min(1, i % 3))
    weights = c.weigh(outcome)
    kept = {
        i: int(n)
        for i, n in zip(*np.unique(outcome.prompt_R[weights.keep_R], return_counts=True), strict=True)
    }
    planned = dict(zip(plan.prompt_P.tolist(), plan.rollouts_P.tolist(), strict=True))
    assert {i for i in planned if i % 3} == kept.keys() & planned.keys()
    assert all(n == planned.get(i, 4) for i, n in kept.items())
    assert 64 - 4 < sum(kept.values()) <= 64


@pytest.mark.parametrize("solver", ["exact", "exp3p"])
def test_the_price_is_of_the_plan_not_of_its_extension(solver):
    """Fresh prompts of a round that is rounded up may have more rollouts than any arm."""
    text = f"rollout-gdro(solver={solver}, n_min=2, n_max=4)"
    alone = Controller(make_strategy(text), h.problem(prior=True))
    beside = Controller(make_strategy(f"{text} + dapo(max_num_gen_batches=2)"), h.problem(prior=True))
    offered = np.arange(20, 36)
    for c in (alone, beside):
        outcome = extended(c, c.plan(Request(16, 64, offered)), lambda i: i % 2, multiple=72)
        c.observe(outcome)
    assert beside.ledger.rollouts > alone.ledger.rollouts
    assert beside._state.allocate.price == alone._state.price
    assert beside._state.allocate.demand == alone._state.demand
    assert np.array_equal(beside._state.allocate.score_BA, alone._state.score_BA)


@pytest.mark.parametrize("text", ["dapo + prompt-gdro", "speed + prompt-gdro"])
def test_weights_have_mean_one_over_what_the_loss_sees(text):
    c = Controller(make_strategy(text), h.problem(prior=True), seed=1)
    for _ in range(4):
        plan = c.plan(h.request())
        outcome = extended(c, plan, lambda i: (i % 4) * (i > 20))
        weights = c.weigh(outcome)
        kept, first = np.unique(outcome.prompt_R[weights.keep_R], return_index=True)
        assert 1 < len(kept) < len(np.unique(outcome.prompt_R))
        assert weights.weight_R[weights.keep_R][first].mean() == pytest.approx(1.0)
        c.observe(outcome)
    assert len(np.unique(weights.weight_R[weights.keep_R])) > 2


def test_weights_have_mean_one_over_scored_groups():
    c = Controller(make_strategy("prompt-gdro"), h.problem(prior=True), seed=1)
    h.warm(c, 4)
    plan = c.plan(h.request())
    # The verifier gave up on the easier half.
    scored_R = plan.prompt_R < np.median(plan.prompt_P)
    weights = c.weigh(h.score(plan, valid_R=scored_R).outcome)
    weight_P = weights.weight_R.reshape(16, 4)[:, 0]
    assert weight_P[plan.prompt_P < np.median(plan.prompt_P)].mean() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("num_rollouts", "options", "multiple", "least"),
    [
        (64, {}, 1, 60),  # five groups of 4 + 8
        (66, {"continuation": 0.25}, 1, 60),  # two prompts are screened by five, as much as 4 + 1
    ],
)
def test_speed_tells_continued_from_spare_rollouts(num_rollouts, options, multiple, least):
    c = Controller(make_strategy("speed", **options), h.problem())
    plan = c.plan(Request(16, num_rollouts))
    outcome = extended(c, plan, lambda i: 2, multiple)
    assert len(outcome.prompt_R) > num_rollouts, "it went on"
    keep_R = c.weigh(outcome).keep_R
    assert least <= keep_R.sum() <= num_rollouts
    received = dict(zip(*np.unique(outcome.prompt_R, return_counts=True), strict=True))
    assert min(received[i] for i in set(outcome.prompt_R[keep_R].tolist())) >= 5


def test_speed_keeps_no_prompt_that_was_only_screened():
    """65 rollouts screen 16 fresh prompts: one has five, as much as 4 + 1, and was not continued."""
    c = Controller(make_strategy("speed", continuation=0.25), h.problem())
    plan = c.plan(Request(16, 64))
    few = set(plan.prompt_P[:3].tolist())
    outcome = extended(c, plan, lambda i: 2 if i in few else 0, multiple=5)
    kept = set(outcome.prompt_R[c.weigh(outcome).keep_R].tolist())
    assert kept == few
