"""Rewards from strangers, degenerate pools, pools that change: finite weights, exact budgets."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gdro
import helpers as h
from gdro import Controller, Difficulty, Outcome, Problem, Request, make_strategy
from gdro.checkpoint.codec import encode
from gdro.groups import group
from gdro.problem import LONGEST_KEY
from gdro.types import LARGEST

ALL = pytest.mark.parametrize("variant", sorted(h.VARIANTS))
REWARDS = {
    "huge": lambda rng, num: np.where(rng.random(num) < 0.5, LARGEST, -LARGEST),
    "all huge": lambda rng, num: np.full(num, LARGEST),
    "negative": lambda rng, num: -1e3 * rng.random(num),
    "constant": lambda rng, num: np.zeros(num),
    "denormal": lambda rng, num: np.full(num, 5e-324),
}
CORRECT = {
    "some": lambda rng, num: rng.random(num) < 0.5,
    "all": lambda rng, num: np.ones(num, bool),
    "none": lambda rng, num: np.zeros(num, bool),
}


def hostile(plan, rewards, correct, empty=False):
    """Rows of a plan, without tokens; sometimes not one of them."""
    rng = np.random.default_rng([plan.ticket, getattr(plan, "round", 0)])
    prompt_R = plan.prompt_R[:0] if empty else plan.prompt_R
    num = len(prompt_R)
    tokens_R = np.zeros(num, np.int64)
    return Outcome(
        plan.ticket, prompt_R, REWARDS[rewards](rng, num), CORRECT[correct](rng, num), tokens_R
    )


def step(c, request, rewards, correct, empty=False):
    """One step; everything that a trainer or a checkpoint would get is finite."""
    plan = c.plan(request)
    assert plan.rollouts_P.sum() == request.num_rollouts
    outcome = hostile(plan, rewards, correct, empty)
    while (more := c.extend(outcome)) is not None:
        outcome = outcome.joined(hostile(more, rewards, correct))
    weight_R = c.weigh(outcome).weight_R
    assert np.isfinite(weight_R).all()
    assert (weight_R >= 0).all()
    c.observe(outcome, outcome.reward_R)
    assert all(np.isfinite(v) for v in c.metrics().values())


@ALL
def test_hostile_rewards(variant):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # no overflow, no division by zero
        for correct in CORRECT:
            c = h.controller(variant, seed=1)
            for rewards in (*REWARDS, *REWARDS):
                step(c, h.request(), rewards, correct)
            step(c, h.request(), "constant", correct, empty=True)
            arrays = encode(c._state, "s") | c._tracker.arrays()
            assert all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f")


@ALL
def test_one_prompt_and_one_bin(variant):
    name, options = h.VARIANTS[variant]
    columns = {"difficulty": np.zeros(1), "topic": np.array(["all"])}
    one_bin = Difficulty(bins="column", column="topic")
    for difficulty in (Difficulty(), one_bin):
        problem = Problem(["only"], columns=columns)
        c = Controller(make_strategy(name, **options), problem, difficulty=difficulty)
        for correct in ("some", "all", "none", "some"):
            step(c, Request(1, 4), "constant", correct)
        assert c.ledger.closed == 4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.1e18, -1.7e308])
def test_rewards_and_losses_that_no_trainer_can_square(bad):
    with h.raises(gdro.OutcomeError, r"reward_R\[1\]", "prompt 7", "finite", r"1e\+18", "valid_R"):
        Outcome(0, [7, 7], [0.0, bad], [False, False])
    c = h.controller()
    scored = h.score(c.plan(h.request()))
    loss_R = np.where(np.arange(64) == 3, bad, 0.0)
    with h.raises(gdro.OutcomeError, "loss_R", "finite", r"1e\+18"):
        c.observe(scored.outcome, loss_R)
    # Rows that have no reward may hold anything.
    assert Outcome(0, [7], [bad], [False], valid_R=[False]).all_valid is False


@pytest.mark.parametrize("tokens", [-1, 2**40, 2**62])
def test_impossible_tokens(tokens):
    with h.raises(gdro.OutcomeError, "tokens_R", str(tokens), "0 to"):
        Outcome(0, [7, 7], [0.0, 1.0], [False, True], tokens_R=[3, tokens])


@pytest.mark.parametrize("field", ["num_prompts", "num_rollouts"])
@pytest.mark.parametrize("value", [2.5, "4", None, np.nan, 0])
def test_requests_count(field, value):
    with h.raises(gdro.RequestError, field, "whole number", "at least 1"):
        Request(**{"num_prompts": 4, "num_rollouts": 8, field: value})


@pytest.mark.parametrize("options", [{"seed": -1}, {"seed": 0.5}, {"max_pending": 0}])
def test_options_of_a_controller(options):
    (name, value) = next(iter(options.items()))
    with h.raises(gdro.GdroError, f"{name} is {value}", "whole number"):
        h.controller(**options)


def test_a_key_as_long_as_a_book():
    Problem(["a", "b" * LONGEST_KEY])
    with h.raises(gdro.ProblemError, "bbbb", str(LONGEST_KEY + 1), "hash"):
        Problem(["a", "b" * (LONGEST_KEY + 1)])


class Broken(gdro.Strategy):
    """A third party's, with weights that would spoil a model."""

    name = "broken"
    roles = ("weigh",)
    wrong = staticmethod(lambda weight_R: weight_R)

    def weigh(self, state, belief, groups, rng):
        rows = len(groups.position_R)
        return gdro.Weights(type(self).wrong(np.ones(rows)), np.ones(rows, bool))


@pytest.mark.parametrize(
    "wrong", [lambda w: w * np.nan, lambda w: w / 0.0, lambda w: w[1:], lambda w: w[:, None]]
)
def test_weights_that_would_spoil_a_model_are_refused(monkeypatch, wrong):
    monkeypatch.setattr(Broken, "wrong", staticmethod(wrong))
    c = Controller(Broken(), h.problem())
    outcome = h.score(c.plan(h.request())).outcome
    with np.errstate(all="ignore"), h.raises(gdro.StrategyError, "broken", "ticket 0", "finite"):
        c.weigh(outcome)
    c.observe(outcome)
    assert c.open_tickets == []


@ALL
@settings(max_examples=3)
@given(random=st.randoms(use_true_random=False))
def test_state_follows_the_keys_into_a_changed_pool(variant, random):
    """Rows added, removed and reordered: what was known of a prompt stays with its key."""
    saved = old_controller(variant).state_dict()
    keys = random.sample(h.KEYS, random.randint(1, h.N))
    keys += [f"new-{i}" for i in range(random.randint(0, 9))]
    random.shuffle(keys)
    known = [key for key in keys if key in PLACE]
    columns = {"difficulty": np.linspace(0.0, 100.0, len(keys))}
    name, options = h.VARIANTS[variant]
    new = Controller(make_strategy(name, **options), Problem(keys, columns=columns), seed=1)
    match = new.load_state_dict(saved, keys="match")
    assert (match.matched, match.added) == (len(known), len(keys) - len(known))
    assert match.removed == h.N - len(known)
    assert str(match).startswith(f"{len(known)} prompts matched")
    here, there = [keys.index(key) for key in known], [PLACE[key] for key in known]
    moved = new.state_dict()["arrays"]
    fresh = Controller(new.strategy, new.problem, seed=1).state_dict()["arrays"]
    others = np.setdiff1d(np.arange(len(keys)), here)
    for array in (name for name in moved if "_N" in name and name != "key_hash_N"):
        assert np.array_equal(moved[array][here], saved["arrays"][array][there]), array
        assert np.array_equal(moved[array][others], fresh[array][others]), array
    num = min(4, len(keys))
    step(new, Request(num, 4 * num), "constant", "some")


PLACE = {key: i for i, key in enumerate(h.KEYS)}
_OLD: dict = {}


def old_controller(variant):
    if variant not in _OLD:
        _OLD[variant] = h.controller(variant, seed=1)
        h.warm(_OLD[variant], 4)
    return _OLD[variant]


def test_the_text_of_a_prompt_does_not_matter():
    """Keys that break formats elsewhere: quotes, newlines, lone surrogates, markup, other scripts."""
    keys = [
        '"',
        "\n",
        "\ud800",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "\0",
        "日本",
        "{}",
        "%s",
        "'",
    ]
    c = Controller(make_strategy("uniform"), Problem(keys), seed=0)
    plan = c.plan(Request(10, 20))
    outcome = hostile(plan, "constant", "some")
    assert group(plan, outcome).received_P.sum() == 20
    c.observe(outcome)
    other = Controller(make_strategy("uniform"), Problem(keys[::-1]), seed=0)
    assert other.load_state_dict(c.state_dict(), keys="match").matched == 10
    assert np.array_equal(other.belief.visits_N, c.belief.visits_N[::-1])
