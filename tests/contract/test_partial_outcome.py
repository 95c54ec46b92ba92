"""Rows that are missing or without a reward: accepted, counted, and kept out of beliefs."""

from __future__ import annotations

import numpy as np
import pytest

import helpers as h
from gdro import Outcome, RunLog
from gdro.checkpoint.codec import encode
from gdro.log.run_log import GROUPS, read_jsonl

ALL = pytest.mark.parametrize("variant", sorted(h.VARIANTS))


def warm_plan(variant, **options):
    c = h.controller(variant, prior=True, **options)
    h.warm(c, 4)
    return c, c.plan(h.request())


def part(scored, keep_R, **changes):
    o = scored.outcome
    names = ("prompt_R", "reward_R", "correct_R", "tokens_R", "valid_R")
    fields = {n: getattr(o, n)[keep_R] for n in names} | changes
    return Outcome(o.ticket, **fields), scored.loss_R[keep_R]


def finish(c, outcome, loss_R):
    weights = c.weigh(outcome)
    c.observe(outcome, loss_R)
    return weights


@ALL
def test_missing_rows_are_counted(variant):
    c, plan = warm_plan(variant)
    before = c.ledger.as_dict()
    keep_R = np.arange(64) >= 10
    outcome, loss_R = part(h.score(plan), keep_R)
    assert len(finish(c, outcome, loss_R).weight_R) == 54
    assert c.ledger.rollouts - before["rollouts"] == 54
    assert c.ledger.missing - before["missing"] == 10
    assert c.ledger.tokens - before["tokens"] == outcome.tokens_R.sum()
    assert c.open_tickets == []


@ALL
def test_nothing_came_back(variant):
    c, plan = warm_plan(variant)
    bins, visits = c.belief.bin_N.copy(), c.belief.visits_N.copy()
    score = {k: v for k, v in encode(c._state, "s").items() if not k.endswith("steps")}
    missing = c.ledger.missing
    outcome, loss_R = part(h.score(plan), np.zeros(64, bool))
    weights = finish(c, outcome, loss_R)
    assert weights.weight_R.shape == (0,)
    assert c.ledger.missing == missing + 64
    assert np.array_equal(c.belief.bin_N, bins)
    assert np.array_equal(c.belief.visits_N, visits)
    assert all(np.array_equal(encode(c._state, "s")[k], v) for k, v in score.items())
    assert c.plan(h.request()).rollouts_P.sum() == 64


def states(c):
    return {k: v.tobytes() for k, v in c.state_dict()["arrays"].items()}


@ALL
def test_rows_without_a_reward_act_as_missing_ones(variant):
    """The same beliefs and scores whether a row is invalid or absent, whatever it holds."""
    results = []
    for absent in (True, False):
        c, plan = warm_plan(variant)
        scored = h.score(plan, valid_R=np.ones(64, bool))
        bad_R = np.random.default_rng(1).random(64) < 0.3
        bad_R |= plan.prompt_R == plan.prompt_P[3]
        if absent:
            outcome, loss_R = part(scored, ~bad_R)
        else:
            junk = np.where(bad_R, np.nan, scored.outcome.reward_R)
            right = scored.outcome.correct_R | bad_R
            everything = np.ones(64, bool)
            outcome, loss_R = part(scored, everything, reward_R=junk, correct_R=right, valid_R=~bad_R)
        unscored, missing = c.ledger.unscored, c.ledger.missing
        weights = finish(c, outcome, loss_R)
        results.append(states(c))
        num_bad = int(bad_R.sum())
        assert (c.ledger.missing - missing, c.ledger.unscored - unscored) == (
            (num_bad, 0) if absent else (0, num_bad)
        )
        if not absent:
            assert not weights.keep_R[bad_R].any()
            assert weights.keep_R[~bad_R].all()
    assert results[0] == results[1]


@ALL
def test_rows_without_a_verdict_train_and_move_no_belief(variant):
    """The same beliefs whether a verdict is unknown or the row never came; the loss sees the row."""
    beliefs = []
    for absent in (True, False):
        c, plan = warm_plan(variant)
        scored = h.score(plan, valid_R=np.ones(64, bool))
        unknown_R = np.random.default_rng(1).random(64) < 0.3
        unknown_R |= plan.prompt_R == plan.prompt_P[3]
        kept = ~unknown_R if absent else np.ones(64, bool)
        right = scored.outcome.correct_R ^ unknown_R  # what it says of them counts for nothing
        fields = {"correct_R": right[kept]} | ({} if absent else {"judged_R": ~unknown_R})
        outcome, loss_R = part(scored, kept, **fields)
        unscored, discarded = c.ledger.unscored, c.ledger.discarded
        weights = finish(c, outcome, loss_R)
        beliefs.append({k: v for k, v in states(c).items() if k.startswith("difficulty/")})
        assert c.ledger.unscored == unscored
        if not absent:
            assert weights.keep_R.all() and c.ledger.discarded == discarded
            unknown = sum(unknown_R[plan.prompt_R == prompt].all() for prompt in plan.prompt_P)
            assert c.metrics()["gdro/unjudged_groups"] == unknown >= 1
            assert c.metrics()["gdro/unscored_groups"] == 0.0
    assert beliefs[0] == beliefs[1] and beliefs[0]


@ALL
def test_a_pool_without_any_verdict_trains_to_the_end(variant):
    c = h.controller(variant)
    for _ in range(4):
        plan = c.plan(h.request())
        scored = h.score(plan, judged_R=np.zeros(64, bool))
        outcome, loss_R = scored.outcome, scored.loss_R
        while (more := c.extend(outcome)) is not None:
            further = h.score(more, judged_R=np.zeros(len(more.prompt_R), bool))
            outcome = outcome.joined(further.outcome)
            loss_R = np.concatenate([loss_R, further.loss_R])
        weights = c.weigh(outcome)
        assert np.isfinite(weights.weight_R).all() and weights.keep_R.any()
        c.observe(outcome, loss_R)
        assert all(np.isfinite(value) for value in c.metrics().values())
    assert c.belief.visits_N.sum() == 0
    assert (c.belief.bin_N == -1).all() or c.difficulty.bins != "difficulty"


@ALL
def test_partial_credit_in_groups_that_failed(variant):
    """All wrong, with rewards that differ: groups with a gradient, none of them solved."""
    c, plan = warm_plan(variant)
    for _ in range(3):
        scored = h.score(plan, correct_R=np.zeros(64, bool), valid_R=np.ones(64, bool))
        assert c.extend(scored.outcome) is None or not c.strategy.extends or c.strategy.needs_even
        if not c.open_tickets or c._plans.get(plan.ticket).round:
            return  # it samples on by design
        weights = finish(c, scored.outcome, scored.loss_R)
        assert weights.keep_R.all() and np.isfinite(weights.weight_R).all()
        found = c.metrics()
        assert (found["gdro/gradient"], found["gdro/flat_wrong"], found["gdro/mixed"]) == (1.0, 0.0, 0.0)
        assert (found["gdro/pass_rate"], found["gdro/all_wrong"]) == (0.0, 1.0)
        plan = c.plan(h.request())


@ALL
def test_group_without_valid_rows_is_left_out(variant):
    c, plan = warm_plan(variant)
    prompt = plan.prompt_P[3]
    before = states(c)
    visits, bins = c.belief.visits_N.copy(), c.belief.bin_N.copy()
    scored = h.score(plan, valid_R=plan.prompt_R != prompt)
    finish(c, scored.outcome, scored.loss_R)
    assert states(c) != before
    moved = c.belief.visits_N - visits
    assert moved[prompt] == 0
    assert c.belief.bin_N[prompt] == bins[prompt]
    assert moved[np.setdiff1d(plan.prompt_P, prompt)].tolist() == [1] * 15
    assert c.metrics()["gdro/unscored_groups"] == 1.0


def test_unscored_group_in_the_log(tmp_path):
    c = h.controller(log=RunLog(tmp_path))
    plan = c.plan(h.request())
    scored = h.score(plan, valid_R=plan.prompt_R != plan.prompt_P[0])
    finish(c, scored.outcome, scored.loss_R)
    record = next(read_jsonl(tmp_path / GROUPS))
    assert record["key"] == h.KEYS[plan.prompt_P[0]]
    assert (record["n"], record["successes"], record["reward"]) == (0, 0, None)
    assert record["tokens"] > 0


def test_seen_only_when_scored():
    c = h.controller()
    plan = c.plan(h.request())
    scored = h.score(plan, valid_R=plan.prompt_R == plan.prompt_P[0])
    finish(c, scored.outcome, scored.loss_R)
    assert np.flatnonzero(c.belief.bin_N >= 0).tolist() == [plan.prompt_P[0]]


def test_update_of_one_bin_by_hand():
    """The adversary's score is the mean failure of the bin's scored prompts, not of its rows."""
    c, plan = warm_plan("prompt-gdro", seed=2)
    scored = h.score(plan)
    old = c.strategy.by_bin(c._state)["score"].copy()
    seen = c._state.updates_B.copy()
    finish(c, scored.outcome, scored.loss_R)
    new = c.strategy.by_bin(c._state)["score"]
    o = scored.outcome
    for b in range(10):
        failures = []
        for prompt in plan.prompt_P[plan.bin_P == b]:
            rows = (o.prompt_R == prompt) & o.valid_R
            if rows.any():
                failures.append(1 - o.correct_R[rows].mean())
        expected = old[b]
        if failures:
            expected = 0.88 * old[b] + 0.12 * np.mean(failures) if seen[b] else np.mean(failures)
        assert new[b] == pytest.approx(expected, abs=1e-12)
    assert not np.array_equal(new, old)
