"""Rollout groups against loops, and independence from the order of rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gdro import Outcome, Plan
from gdro.groups import group
from gdro.numerics.arrays import frozen


def make_plan(*arrays):
    return Plan(3, *(frozen(a, np.int64) for a in arrays), frozen(np.ones(len(arrays[0])), float))


@st.composite
def worlds(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    num = draw(st.integers(1, 8))
    prompt_P = rng.choice(1000, num, replace=False)
    rollouts_P = rng.integers(1, 6, num)
    plan = make_plan(prompt_P, rollouts_P, rng.integers(-1, 4, num))
    rows = rng.permutation(np.flatnonzero(rng.random(rollouts_P.sum()) < draw(st.floats(0, 1))))
    prompt_R = plan.prompt_R[rows]
    size = len(rows)
    fields = {
        "prompt_R": prompt_R,
        "reward_R": rng.normal(size=size) * 10.0 ** rng.integers(-6, 6, size),
        "correct_R": rng.random(size) < 0.5,
        "tokens_R": rng.integers(0, 99, size),
        "valid_R": rng.random(size) < 0.7,
        "judged_R": rng.random(size) < 0.8,
    }
    if draw(st.booleans()):  # rewards that agree in most groups
        fields["reward_R"] = (prompt_R % 3 == 0) * (rng.random(size) < 0.5) * 0.1 + 0.7
    if draw(st.booleans()):
        del fields["judged_R"]
    return plan, fields, rng.normal(size=size), rng


@given(worlds())
def test_groups_against_a_loop(world):
    plan, f, loss_R, _ = world
    g = group(plan, Outcome(3, **f)).with_loss(loss_R)
    for p, prompt in enumerate(plan.prompt_P):
        mine = f["prompt_R"] == prompt
        valid = mine & f["valid_R"]
        judged = valid & f.get("judged_R", True)
        right = int((judged & f["correct_R"]).sum())
        assert g.received_P[p] == mine.sum()
        assert g.trials_P[p] == judged.sum()
        assert g.successes_P[p] == right
        assert g.tokens_P[p] == f["tokens_R"][mine].sum()
        assert g.scored_P[p] == judged.any()
        assert g.rows_P[p] == valid.sum()
        assert g.rewarded_P[p] == valid.any()
        assert g.mixed_P[p] == (0 < right < judged.sum())
        rewards = f["reward_R"][valid]
        assert g.has_gradient_P[p] == (
            valid.any() and np.ptp(rewards) > 1e-8 + 1e-6 * abs(rewards).max()
        )
        if judged.any():
            assert np.isclose(g.failure_P[p], 1 - right / judged.sum())
        else:
            assert np.isnan(g.failure_P[p])
        if not valid.any():
            assert np.isnan([g.reward_P[p], g.loss_P[p]]).all()
            continue
        assert np.isclose(g.reward_P[p], f["reward_R"][valid].mean())
        assert np.isclose(g.loss_P[p], loss_R[valid].mean())


@given(worlds())
def test_order_of_rows_changes_no_bit(world):
    plan, f, loss_R, rng = world
    order = rng.permutation(len(loss_R))
    a = group(plan, Outcome(3, **f)).with_loss(loss_R)
    b = group(plan, Outcome(3, **{k: v[order] for k, v in f.items()})).with_loss(loss_R[order])
    for name in ("received_P", "trials_P", "successes_P", "reward_P", "loss_P", "tokens_P"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes()


@given(worlds())
def test_expand_gives_each_row_its_prompt(world):
    plan, f, _, rng = world
    outcome = Outcome(3, **f)
    weight_P = rng.random(len(plan.prompt_P))
    weights = group(plan, outcome).expand(weight_P)
    at = {int(x): i for i, x in enumerate(plan.prompt_P)}
    assert weights.weight_R.tolist() == [weight_P[at[int(x)]] for x in f["prompt_R"]]
    assert np.array_equal(weights.keep_R, f["valid_R"])  # judged or not
    weights.keep_R[:] = False
    assert np.array_equal(outcome.valid_R, f["valid_R"])


def test_tokens_and_losses_are_optional():
    plan = make_plan([4, 2], [2, 1], [0, 0])
    g = group(plan, Outcome(3, [2, 4, 4], [1, 0, 1], [1, 0, 1]))
    assert g.tokens_P.tolist() == [0, 0]
    assert g.loss_P is None
    assert g.failure_P.tolist() == [0.5, 0.0]
    assert plan.prompt_R.tolist() == [4, 4, 2]


def test_a_row_without_a_reward_has_no_verdict():
    outcome = Outcome(0, [1, 1, 1], [0, 1, np.nan], [0, 1, 1], valid_R=[1, 1, 0], judged_R=[0, 1, 1])
    assert outcome.judged_R.tolist() == [False, True, False]
    assert not outcome.all_judged
    assert Outcome(0, [1], [0], [0]).all_judged


def test_verdicts_are_joined_with_their_rows():
    first = Outcome(0, [1, 1], [0, 1], [0, 1], judged_R=[1, 0])
    assert first.joined(Outcome(0, [1], [1], [1])).judged_R.tolist() == [True, False, True]


def test_rounding_is_no_gradient_and_partial_credit_is_one():
    plan = make_plan([4, 2, 7], [3, 3, 2], [0, 0, 0])
    third = np.float32(0.1) + np.float32(0.2)  # not the float32 nearest to .3
    rewards = [0.3, third, 0.3, 0.1, 0.2, 0.1, 1e6, 1e6 + 0.1]
    g = group(plan, Outcome(3, plan.prompt_R, np.float32(rewards), np.zeros(8, bool)))
    assert g.has_gradient_P.tolist() == [False, True, False]
    assert not g.mixed_P.any()
