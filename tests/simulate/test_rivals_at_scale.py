"""Each strategy does what its paper says, over 100 steps at DAPO's size in the simulator."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest

from gdro import Controller, Request, make_strategy
from gdro.simulate import Population, SimulatedPolicy

STEPS, PROMPTS, MEAN = 100, 256, 4
FURTHER = ("speed", "reinforce-ada", "mopps", "greso", "random-rollouts")


def weekly(text: str):
    """A case for which every `make test` has no time."""
    return pytest.param(text, marks=pytest.mark.weekly)


@dataclass
class Run:
    """What one run did, step by step."""

    controller: Controller
    world: SimulatedPolicy
    plans: list = field(default_factory=list)
    outcomes: list = field(default_factory=list)
    weights: list = field(default_factory=list)
    rates: list = field(default_factory=list)

    def late(self, name):
        """The second half of a record: after warm-up."""
        return getattr(self, name)[STEPS // 2 :]


@cache
def run(text, **options):
    world = SimulatedPolicy(Population(num_heldout=10), STEPS, seed=1)
    made = Run(Controller(make_strategy(text, **options), world.problem(), seed=0), world)
    for _ in range(STEPS):
        plan = made.controller.plan(Request(PROMPTS, PROMPTS * MEAN))
        made.rates.append(world.rates(plan.prompt_P))
        outcome, right_R = world.roll_out(plan)
        while (extension := made.controller.extend(outcome)) is not None:
            further, further_right_R = world.roll_out(extension)
            outcome = outcome.joined(further)
            right_R = np.concatenate([right_R, further_right_R])
        weights = made.controller.weigh(outcome)
        recalled = world.learn(outcome, weights, right_R)
        made.controller.observe(outcome, np.zeros(len(right_R)), recalled=recalled)
        made.plans.append(plan)
        made.outcomes.append(outcome)
        made.weights.append(weights)
    return made


def kept_groups(r):
    """Right and kept rollouts of every group that has kept rows."""
    for outcome, weights in zip(r.outcomes, r.weights, strict=True):
        prompt_R, right_R = outcome.prompt_R[weights.keep_R], outcome.correct_R[weights.keep_R]
        _, position_R = np.unique(prompt_R, return_inverse=True)
        yield np.bincount(position_R, right_R), np.bincount(position_R)


def spearman(a, b):
    ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
    return np.corrcoef(*ranks)[0, 1]


def test_dapo_leaves_no_group_without_gradient():
    r = run("dapo")
    for right, size in kept_groups(r):
        assert ((right > 0) & (right < size)).all()
        assert size.sum() == PROMPTS * MEAN
    assert r.controller.ledger.rollouts > 1.5 * STEPS * PROMPTS * MEAN


@pytest.mark.weekly
def test_speed_trains_on_undecided_prompts_with_more_rollouts():
    sizes = np.concatenate([size for _, size in kept_groups(run("speed"))])
    assert set(sizes) == {12}
    mixed = np.concatenate([(right > 0) & (right < size) for right, size in kept_groups(run("speed"))])
    assert mixed.all()


@pytest.mark.weekly
def test_reinforce_ada_has_more_mixed_groups_and_balances_them():
    def share(r):
        groups = [((right > 0) & (right < size)).mean() for right, size in kept_groups(r)]
        return float(np.mean(groups))

    assert share(run("reinforce-ada")) > share(run("uniform")) + 0.1

    def balanced(r):
        mixed = np.concatenate([right[(right > 0) & (right < 4)] for right, _ in kept_groups(r)])
        return float((mixed == 2).mean())

    assert balanced(run("reinforce-ada")) > balanced(run("uniform")) + 0.2


@pytest.mark.weekly
@pytest.mark.parametrize("target", [0.3, 0.5])
def test_mopps_draws_near_its_target(target):
    r = run("mopps", target=target)
    assert np.mean(r.late("rates")) == pytest.approx(target, abs=0.1)


@pytest.mark.weekly
def test_knapsack_gives_valuable_prompts_three_times_those_of_solved_ones():
    r = run("knapsack")
    belief = r.controller.belief
    rng, top, solved = np.random.default_rng(0), [], []
    for _ in range(20):
        offered = rng.choice(14_100, PROMPTS, replace=False)
        plan = r.controller.plan(Request(PROMPTS, PROMPTS * MEAN, offered))
        rate = belief.pass_rate(plan.prompt_P)
        worth = rate * (1 - rate) ** 2
        top.append(plan.rollouts_P[np.argsort(-worth)[:25]].mean())
        solved.append(plan.rollouts_P[(rate > 0.9) & (plan.bin_P >= 0)].mean())
    assert np.mean(top) >= 3 * np.mean(solved)


def test_hora_and_rollout_gdro_give_hard_prompts_more():
    for text in ("hora", "rollout-gdro"):
        r = run(text)
        bins = np.concatenate([p.bin_P[p.bin_P >= 0] for p in r.late("plans")])
        spent = np.concatenate([p.rollouts_P[p.bin_P >= 0] for p in r.late("plans")])
        hard = bins <= np.unique(bins)[1]
        assert spent[hard].mean() > 1.5 * spent[bins == 9].mean()


@pytest.mark.weekly
def test_greso_draws_fewer_groups_without_gradient_than_uniform():
    def dead(r):
        return np.mean([np.mean((rate < 0.02) | (rate > 0.98)) for rate in r.late("rates")])

    assert dead(run("greso")) < dead(run("uniform")) - 0.03
    state = run("greso").controller._state
    assert state.explore_easy != 0.5
    assert (state.run_N[:] > 0).any()


@pytest.mark.weekly
def test_failure_sampling_draws_harder_prompts():
    assert np.mean(run("failure-sampling").late("rates")) < np.mean(run("uniform").late("rates")) - 0.05


@pytest.mark.weekly
def test_adarft_holds_the_pass_rate_at_its_aim():
    assert np.mean(run("adarft").late("rates")) == pytest.approx(0.5, abs=0.12)


@pytest.mark.weekly
def test_curriculum_goes_from_easy_to_hard():
    means = [float(np.mean(rate)) for rate in run("curriculum", num_steps=STEPS).rates]
    assert spearman(means, -np.arange(STEPS)) > 0.9
    assert means[0] > 0.95


@pytest.mark.weekly
def test_sec_prefers_bins_with_larger_advantages():
    r = run("sec")
    value_B = r.controller._state.value_B
    bin_P = np.concatenate([p.bin_P for p in r.late("plans")])
    drawn_B = np.bincount(bin_P[bin_P >= 0], minlength=len(value_B))
    share_B = r.controller.belief.size_C[1:]
    present = share_B > 50
    assert present.sum() >= 4
    # Bins are drawn by softmax of their values, whatever their size.
    assert spearman(drawn_B[present], value_B[present]) > 0.5
    uniform = run("uniform")

    def moving(run_):
        return np.mean([np.mean(rate * (1 - rate)) for rate in run_.late("rates")])

    assert moving(r) > moving(uniform)


@pytest.mark.weekly
def test_difficulty_pool_draws_few_extremes():
    def extreme(r):
        return np.mean([np.mean((rate < 0.1) | (rate > 0.9)) for rate in r.late("rates")])

    assert extreme(run("difficulty-pool")) < extreme(run("uniform"))


@pytest.mark.weekly
def test_daro_weights_rare_pass_rates_up():
    weight_G = run("daro").controller._state.weight_G
    # With four rollouts: pass rates 1/4 and 3/4 have smaller |advantage| than 1/2.
    assert weight_G[2] > weight_G[4] < weight_G[6]


def test_memory_replays_failed_groups_and_spends_no_rollouts():
    r = run("failure-sampling + memory")
    limit = make_strategy("memory").max_misses
    misses, replayed, failed, given_up = {}, 0, 0, 0
    for outcome, weights in zip(r.outcomes, r.weights, strict=True):
        prompts, position_R = np.unique(outcome.prompt_R, return_inverse=True)
        right = np.bincount(position_R, outcome.correct_R)
        missed = [int(p) for p, w in zip(prompts, right, strict=True) if w == 0]
        known = [p for p in missed if p in misses]
        replays = sorted(c.prompt for c in weights.recall if c.kind == "replay")
        assert replays == [p for p in known if misses[p] < limit]
        replayed += len(replays)
        given_up += len(known) - len(replays)
        failed += len(missed)
        misses |= {p: misses[p] + 1 for p in known}
        misses |= dict.fromkeys(outcome.prompt_R[outcome.correct_R].tolist(), 0)
    assert replayed > 50
    assert given_up > 0
    assert failed > replayed
    ledger = r.controller.ledger
    assert ledger.rollouts == STEPS * PROMPTS * MEAN
    assert 0 < ledger.recalled_tokens < ledger.tokens


@pytest.mark.weekly
def test_memory_lifts_prompts_that_rarely_succeed():
    def rate(text):
        r = run(text)
        first = SimulatedPolicy(Population(num_heldout=10), STEPS, seed=1)
        index = np.arange(first.population.num_prompts)
        hard = first.rates(index) < 0.1
        return r.world.rates(index)[hard].mean()

    assert rate("uniform + memory") > rate("uniform")


@pytest.mark.weekly
def test_placebos_carry_no_information():
    r = run("random-rollouts")
    spent = np.concatenate([p.rollouts_P for p in r.plans])
    rates = np.concatenate(r.rates)
    assert abs(np.corrcoef(spent, rates)[0, 1]) < 0.02
    assert spent.std() > 1
    weights = np.concatenate([w.weight_R for w in run("placebo-weights").weights])
    assert weights == pytest.approx(np.ones(len(weights)))


@pytest.mark.parametrize("text", ["dapo", *map(weekly, FURTHER)])
def test_every_rollout_is_in_the_ledger(text):
    r = run(text)
    ledger = r.controller.ledger
    assert ledger.rollouts == ledger.planned == sum(len(o.prompt_R) for o in r.outcomes)
    assert ledger.tokens == sum(int(o.tokens_R.sum()) for o in r.outcomes)
    assert ledger.discarded == sum(int((~w.keep_R).sum()) for w in r.weights)


def late_groups(r):
    """Late prompts: true pass rate, right rollouts, rollouts and weight of each."""
    columns = []
    rows = zip(r.late("plans"), r.late("outcomes"), r.late("weights"), r.late("rates"), strict=True)
    for plan, outcome, weights, rate_P in rows:
        start_P = np.cumsum(plan.rollouts_P) - plan.rollouts_P
        right_P = np.add.reduceat(outcome.correct_R.astype(int), start_P)
        columns.append((rate_P, right_P, plan.rollouts_P, weights.weight_R[start_P]))
    return (np.concatenate(column) for column in zip(*columns, strict=True))


def test_maxrl_weighs_rare_successes_most():
    rate, right, _, weight = late_groups(run("maxrl"))
    some = right > 0
    assert weight[some & (rate < 0.2)].mean() > 2.0 * weight[some & (rate > 0.8)].mean()


def test_curverl_weighs_the_hardest_mixed_groups_fully_and_solved_ones_not_at_all():
    _, right, size, weight = late_groups(run("curverl"))
    assert (weight[right == 1] == 1.0).all()
    assert (weight[right == size] == 0.0).all()
    easy = weight[(right > 1) & (right < size)]
    assert easy.min() > 0.0 and easy.max() < 1.0


@pytest.mark.weekly
def test_bbg_trains_only_where_hardly_anything_was_solved():
    rate, _, _, weight = late_groups(run("bbg", k=8))
    assert set(weight) == {0.0, 1.0}
    assert rate[weight == 0].mean() > rate[weight == 1].mean() + 0.3


@pytest.mark.weekly
def test_pilot_commit_trains_on_undecided_prompts_and_draws_solved_ones_less():
    r = run("pilot-commit")
    right, size = (np.concatenate(column) for column in zip(*kept_groups(r), strict=True))
    assert set(size) == {16}
    assert ((right > 0) & (right < size)).all()  # by the pilot alone
    assert r.controller.metrics()["gdro/pilot_evicted"] > 0.1
    drawn = np.concatenate(r.late("rates")).mean()
    assert drawn < np.concatenate(run("uniform").late("rates")).mean()


@pytest.mark.weekly
@pytest.mark.parametrize("text", ["popo", "advantage-replay"])
def test_recent_rows_replace_what_taught_nothing(text):
    """As many rows as there is room for come back, all of recent groups, and teach more."""
    r = run(text)
    start, most = (5, 1.0) if text == "popo" else (21, 0.5)
    for at in range(start, STEPS):
        recent = {p for w, o in zip(r.weights[:at], r.outcomes[:at], strict=True) for p in stored(w, o)}
        assert {recall.prompt for recall in r.weights[at].recall} <= recent
    ledger = r.controller.ledger
    dead = STEPS * PROMPTS * MEAN - sum(int(w.remember_R.sum()) for w in r.weights)
    assert 0.3 * dead < ledger.recalled <= min(dead, most * STEPS * PROMPTS * MEAN)
    late, plain = (
        np.mean([o.correct_R.mean() for o in run(n).late("outcomes")]) for n in (text, "uniform")
    )
    assert late > plain


def stored(weights, outcome):
    """Prompts of the rows to remember."""
    return outcome.prompt_R[weights.remember_R].tolist()
