"""The rivals' formulas on cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from by_hand import made, outcome, step
from gdro import (
    Controller,
    PersistentArray,
    Problem,
    ProblemError,
    Request,
    StrategyError,
    make_strategy,
)
from gdro.strategies.baselines.knapsack import value
from gdro.strategies.mopps import Posterior

KEYS = [f"k{i}" for i in range(12)]


def test_mopps_posterior():
    c = made("mopps", decay=0.5, prior=1.0)
    state = step(c, {0: 3, 1: 0, 2: 4})
    # .5 * 1 + .5 * 1 + s
    assert state.alpha_N[:4].tolist() == [4.0, 1.0, 5.0, 1.0]
    assert state.beta_N[:4].tolist() == [2.0, 5.0, 1.0, 1.0]
    state = step(c, {0: 1, 1: 0, 2: 4})
    # .5 * 4 + .5 + 1
    assert state.alpha_N[0] == 3.5
    assert state.beta_N[0] == 0.5 * 2 + 0.5 + 3


def test_mopps_takes_those_near_the_target():
    c = made("mopps", num=400, candidates=1000, target=0.5)
    near_N = np.arange(400) < 100
    state = Posterior(
        PersistentArray(np.where(near_N, 500.0, 990.0)), PersistentArray(np.where(near_N, 500.0, 10.0))
    )
    c._state = state
    chosen = c.plan(Request(60, 240)).prompt_P
    assert (chosen < 100).all()
    band = made("mopps", num=400, candidates=1000, rule="band", low=0.9, high=1.0)
    band._state = state
    assert (band.plan(Request(60, 240)).prompt_P >= 100).all()


def test_failure_sampling_law():
    """Single draws have the stated probabilities."""
    c = made("failure-sampling", num=3, offset=0.05, floor=0.1)
    step(c, {0: 4, 1: 0, 2: 2})
    rate = c.belief.pass_rate(np.arange(3))
    weight = 1.05 - rate
    want = 0.1 / 3 + 0.9 * weight / weight.sum()
    rng = np.random.default_rng(0)
    strategy = c.strategy
    drawn = [int(strategy.select(c._state, c.belief, Request(1, 4), rng)[0]) for _ in range(6000)]
    share = np.bincount(drawn, minlength=3) / 6000
    assert (np.abs(share - want) < 4 * np.sqrt(want * (1 - want) / 6000)).all()


def test_knapsack_against_brute_force():
    c = made("knapsack", num=4, n_min=2, n_max=7)
    step(c, {0: 4, 1: 1, 2: 0, 3: 2}, num=4)
    plan = c.plan(Request(4, 18, np.arange(4)))
    rate = c.belief.pass_rate(np.arange(4))
    table = value(rate, np.arange(2, 8))

    def total(ns):
        return sum(table[i, n - 2] for i, n in enumerate(ns))

    best = max((ns for ns in product(range(2, 8), repeat=4) if sum(ns) == 18), key=total)
    assert total(plan.rollouts_P) == pytest.approx(total(best), rel=1e-12)


def test_knapsack_value_by_hand():
    got = value(np.array([0.25, 0.0, 1.0]), np.array([2, 3]))
    assert got[0] == pytest.approx([(1 - 0.0625 - 0.5625) * 0.25 * 0.5625, 0.5625 * 0.25 * 0.5625])
    assert (got[1:] == 0).all()


def test_hora_marginals_by_hand():
    """Beta(1+s, 1+f): the gain of rollout n+1 is E[p (1-p)^n]."""
    c = made("hora", num=2, n_min=2, n_max=10)
    step(c, {0: 4, 1: 0}, num=2)
    # E[p(1-p)^n]: Beta(5,1) falls from 5/6 * 1/7 * 2/8 fast, Beta(1,5) slowly, so prompt 1 gets all.
    assert c.plan(Request(2, 10, np.arange(2))).rollouts_P.tolist() == [2, 8]


def test_adarft_target():
    c = made("adarft", eta=50.0, alpha=2.0, beta=0.5, start=30.0)
    assert sorted(c.plan(Request(3, 12)).prompt_P.tolist()) == [2, 3, 4]
    state = step(c, {0: 4, 1: 4, 2: 4})
    assert state.target == pytest.approx(30 + 50 * np.tanh(1.0))
    state = step(c, {0: 0, 1: 0, 2: 0})
    assert state.target == pytest.approx(30.0)
    for _ in range(3):
        state = step(c, {0: 4, 1: 4, 2: 4})
    assert state.target == 100.0


def test_curriculum_opens():
    c = made("curriculum", num_steps=3, start=0.25, power=2.0)
    assert c.strategy.open_share(0) == pytest.approx(0.25)
    assert c.strategy.open_share(3) == 1.0
    assert c.strategy.open_share(1) == pytest.approx(np.sqrt((1 - 0.0625) / 3 + 0.0625))
    assert sorted(c.plan(Request(3, 12)).prompt_P.tolist()) == [0, 1, 2]


def test_sec_values():
    c = made("sec", alpha=0.5, tau=1.0)
    step(c, {0: 2, 1: 0, 2: 4})  # unseen prompts pay no bin
    assert (c._state.value_B == 0).all()
    bins = c.belief.bin_N[:3].copy()
    state = step(c, {0: 2, 1: 0, 2: 4})
    # Two right of four: |A| = .5 / (sqrt(1/3) + 1e-4) for each row; the others have none.
    size = 0.5 / (np.sqrt(1 / 3) + 1e-4)
    of_bin = np.zeros(10)
    of_bin[bins[0]] = size / (bins == bins[0]).sum()
    assert state.value_B == pytest.approx(0.5 * of_bin)


def test_greso_s_runs_stop_at_the_end_of_their_range():
    """A checkpoint may hold any count; the next one must not be negative."""
    c = made("greso")
    most = int(np.iinfo(np.int32).max)
    full_N = np.full(len(c._state.run_N), most, np.int32)
    c._state = replace(c._state, run_N=c._state.run_N.replaced(full_N))
    assert step(c, {0: 0, 1: 0, 2: 0}).run_N.array[0] == most


def test_greso_runs_and_chances():
    c = made("greso", explore=0.5, target_easy=0.5, target_hard=0.2, step=0.01)
    state = step(c, {0: 4, 1: 0, 2: 2})
    assert state.run_N[:4].tolist() == [1, 1, 0, 0]
    # One third is easy (below .5: up), one third hard (above .2: down).
    assert (state.explore_easy, state.explore_hard) == pytest.approx((0.51, 0.49))
    state = step(c, {0: 4, 1: 2, 2: 0})
    assert state.run_N[:3].tolist() == [2, 0, 1]
    chance = c.strategy.chance(state, np.arange(4))
    assert chance == pytest.approx([0.52**2, 1.0, 0.48, 1.0])


def test_difficulty_pool_moves_and_shares():
    c = made("difficulty-pool", num=300, easy_border=0.8, hard_border=0.2, easy=0.1, hard=0.3)
    right = {i: (4, 0, 2)[i % 3] for i in range(300)}
    state = step(c, right, num=300)
    assert np.array_equal(state.pool_N, np.tile([2, 0, 1], 100))
    drawn = np.concatenate([c.plan(Request(10, 40)).prompt_P for _ in range(300)])
    share = np.bincount(state.pool_N[drawn], minlength=3) / 3000
    assert share == pytest.approx([0.3, 0.6, 0.1], abs=0.04)


def test_daro_step():
    c = made("daro", classes=4, rate=0.1)
    state = step(c, {0: 2, 1: 0, 2: 4})
    size = 0.5 / (np.sqrt(1 / 3) + 1e-4)
    assert state.weight_G == pytest.approx([1, 1, 1 - 0.1 * (size - 1.0), 1])
    for _ in range(200):
        state = step(c, {0: 2, 1: 1, 2: 3})
    assert state.weight_G[2] == pytest.approx(1 / size, rel=1e-3)  # the optimum w = 1 / L
    plan = c.plan(Request(3, 12, np.arange(3)))
    weights = c.weigh(outcome(plan, {0: 2, 1: 0, 2: 4})).weight_R
    assert weights.tolist() == [state.weight_G[2]] * 4 + [1.0] * 8


def play(c, right, num=3):
    """One step with extensions; the plan as it ended, and kept rollouts by prompt."""
    plan = c.plan(Request(num, 4 * num, np.arange(num)))
    scored = outcome(plan, right)
    used: dict[int, int] = {}
    while (more := c.extend(scored)) is not None:
        for i, n in zip(more.prompt_P, more.rollouts_P, strict=True):
            used[int(i)] = used.get(int(i), 0) + int(n)
        scored = scored.joined(outcome(more, right))
    weights = c.weigh(scored)
    c.observe(scored)
    kept = {int(i): int(weights.keep_R[scored.prompt_R == i].sum()) for i in np.unique(scored.prompt_R)}
    return used, {i: n for i, n in kept.items() if n}, scored, weights


def test_dapo_refills_and_keeps_whole_groups():
    mixed = dict.fromkeys(range(12), 2) | {0: 4, 1: 0}
    used, kept, _, _ = play(made("dapo", refill="missing"), mixed)
    assert len(used) == 2
    assert 0 not in kept
    assert 1 not in kept
    assert list(kept.values()) == [4, 4, 4]
    used, kept, _, _ = play(made("dapo"), mixed)
    assert len(used) == 3
    assert list(kept.values()) == [4, 4, 4]


def test_dapo_gives_up():
    hopeless = dict.fromkeys(range(12), 0)
    c = made("dapo", max_num_gen_batches=3)
    used, kept, scored, _ = play(c, hopeless)
    assert len(used) == 6
    assert kept == {}
    assert c.ledger.rollouts == len(scored.prompt_R) == 36
    c = made("dapo", max_num_gen_batches=50)
    used, _, _, _ = play(c, hopeless)
    assert len(used) == 9, "the pool is used up"


def test_speed_continues_the_undecided():
    c = made("speed", continuation=2.0, max_screens=1)
    used, kept, _, _ = play(c, {0: 4, 1: 2, 2: 0})
    assert used == {1: 8}
    assert kept == {1: 12}
    c = made("speed", continuation=2.0, max_screens=2)
    used, kept, _, _ = play(c, {0: 4, 1: 4, 2: 0} | dict.fromkeys(range(3, 12), 1))
    assert sorted(used.values()) == [4, 4, 12]
    assert list(kept.values()) == [12]


def test_reinforce_ada_balances():
    c = made("reinforce-ada", rounds=3)
    used, kept, scored, weights = play(c, {0: 2, 1: 1, 2: 0})
    # Prompt 1 finds its second right rollout in the next round; prompt 2 never does.
    assert used == {1: 4, 2: 8}
    assert kept == {0: 4, 1: 4, 2: 4}
    assert weights.baseline == "all"
    of_1 = weights.keep_R & (scored.prompt_R == 1)
    assert scored.correct_R[of_1].sum() == 2
    used, _, _, _ = play(
        made("reinforce-ada", exit="positive", rounds=4, per_round=3), {0: 4, 1: 1, 2: 0}
    )
    assert used == {2: 9}


@pytest.mark.parametrize("total", [24, 30, 41, 144])
def test_random_rollouts_are_exact_within_bounds(total):
    c = made("random-rollouts")
    plans = [c.plan(Request(12, total)).rollouts_P for _ in range(20)]
    assert all(p.sum() == total and p.min() >= 2 and p.max() <= 12 for p in plans)
    assert total in (24, 144) or len({tuple(p) for p in plans}) > 1


def test_placebo_weights_stay_at_one():
    c = made("placebo-weights")
    for right in ({0: 4, 1: 0, 2: 2}, {0: 4, 1: 0, 2: 1}):
        step(c, right)
    plan = c.plan(Request(3, 12, np.arange(3)))
    assert c.weigh(outcome(plan, {0: 1, 1: 2, 2: 3})).weight_R == pytest.approx(np.ones(12))


@pytest.mark.parametrize("name", ["adarft", "curriculum"])
def test_missing_or_textual_columns_are_told_at_construction(name):
    with pytest.raises(ProblemError, match="needs the column 'difficulty'"):
        Controller(make_strategy(name), Problem(KEYS))
    with pytest.raises(ProblemError, match="needs numbers"):
        Controller(make_strategy(name), Problem(KEYS, columns={"difficulty": KEYS}))
    with pytest.raises(ProblemError, match="needs the column 'level'"):
        Controller(make_strategy(f"{name}(column=level) + rollout-gdro"), Problem(KEYS))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("mopps + greso", "both select"),
        ("rollout-gdro + knapsack", "both allocate"),
        ("prompt-gdro + daro", "both weigh"),
        ("dapo + speed", "both extend"),
        ("dapo + prompt-gdro(signal=surrogate)", "loss of every row"),
        ("mopps + mopps", "twice"),
        ("mopps + nope", "unknown strategy 'nope'"),
        ("mopps(targt=1) + hora", "did you mean 'target'"),
        ("mopps +", "cannot read"),
        ("mopps(target)", "name=value"),
        ("__import__('os') + mopps", "name=value"),
        ("mopps(target=__import__('os')) + hora", "target is"),
    ],
)
def test_clashes_and_typing_errors_say_which_part(text, match):
    with pytest.raises(StrategyError, match=match):
        make_strategy(text)


def test_compositions_read_options_from_text_and_mapping():
    made_ = make_strategy("mopps(target=0.4, rule=band) + hora", hora={"n_max": 9})
    assert (made_.selector.target, made_.selector.rule, made_.allocator.n_max) == (0.4, "band", 9)
    assert make_strategy("hora(n_max=9)") == make_strategy("hora", n_max=9)
    with pytest.raises(StrategyError, match="no part 'knapsack'"):
        make_strategy("mopps + hora", knapsack={})
    parts = make_strategy("joint", select="mopps", allocate="hora", weigh="uniform", extend="dapo")
    assert parts == make_strategy("mopps + hora + dapo")
