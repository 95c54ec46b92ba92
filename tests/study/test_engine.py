"""Runs of a study: repeatable, paired, exact in what they spend, and able to tell good from bad."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import pytest
import torch

from gdro import Controller, list_strategies, make_strategy
from gdro.errors import StudyError
from gdro.strategy import NoState, Strategy
from gdro.study.config import warm_start_path
from gdro.study.decoder import Decoder, Shape, load
from gdro.study.engine import run
from gdro.study.grading import grader_of
from gdro.study.recalls import StoredRow, recalled_rows
from gdro.study.testbed import END, load_testbed
from gdro.study.training import PoolSizes, Training
from gdro.study.variant import Variant
from gdro.study.worlds import TAIL, StudyTask, World, make_world

SIZES = PoolSizes(train=128, heldout=96, samples=8)
START = warm_start_path("chains-a")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


WORLDS: dict[str, World] = {}


def world(variant: Variant, seed: int = 0, num_train: int = SIZES.train) -> World:
    key = f"{variant} {seed} {num_train}"
    if key not in WORLDS:
        WORLDS[key] = made_anew(variant, seed, num_train)
    return WORLDS[key]


def made_anew(variant: Variant, seed: int = 0, num_train: int = SIZES.train) -> World:
    study_task = StudyTask(load_testbed("chains"), variant, SIZES)
    return make_world(study_task, load(START), seed, num_train)


def trained(strategy="uniform", seed=0, variant=None, controller=Controller, **training):
    made = make_strategy(strategy) if isinstance(strategy, str) else strategy
    options = Training(**{"num_steps": 6, "batch": 16, "evaluate_every": 6} | training)
    drawn = world(variant or Variant(), seed)
    return run(drawn, options, load(START), controller(made, drawn.problem, seed=seed), seed)


@cache
def plain():
    """The record of GRPO, with which others are compared."""
    return trained()


def watching(of):
    """A controller that keeps something of each step, and where it keeps it."""
    kept: list[np.ndarray] = []

    class Watching(Controller):
        def weigh(self, outcome):
            weights = super().weigh(outcome)
            kept.append(of(outcome, weights))
            return weights

    return Watching, kept


def numbers(record):
    return {k: v for k, v in record.items() if k != "seconds"}


@pytest.mark.parametrize("name", list_strategies())
def test_every_strategy_runs_and_spends_what_it_may(name: str) -> None:
    record = trained(name) if name != "uniform" else plain()
    extends = make_strategy(name).extends
    assert record["rollouts"] == 6 * 64 or (extends and record["rollouts"] > 6 * 64)
    assert record["trained"] > 0
    assert 0.0 < record["pass8"] < 1.0


def test_one_seed_gives_the_same_numbers_bit_for_bit() -> None:
    for strategy in ("failure-sampling + rollout-gdro + memory", "dapo + prompt-gdro"):
        assert numbers(trained(strategy)) == numbers(trained(strategy))
    assert numbers(plain()) != numbers(trained(seed=4))


def test_identical_arms_find_no_difference() -> None:
    """Weights of one by another name: every number but the digest of the strategy's name."""
    same = {"mean8", "pass8", "tokens", "trained", "curve"}
    silent = trained("memory(replay=False, anchors=0)")
    assert {k: plain()[k] for k in same} == {k: silent[k] for k in same}


@dataclass(frozen=True)
class Backwards(Strategy[NoState]):
    """A broken arm: it pushes away from what was right."""

    name: ClassVar[str] = "backwards"

    @property
    def roles(self):
        return ("weigh",)

    def weigh(self, state, belief, groups, rng):
        return groups.expand(-np.ones(len(groups.received_P)))


def test_training_helps_and_a_broken_arm_loses() -> None:
    good = trained("uniform", num_steps=40, batch=32, evaluate_every=40)
    bad = trained(Backwards(), num_steps=20, batch=32, evaluate_every=20)
    assert good["mean8"] > good["base_mean8"] + 0.03
    assert bad["mean8"] < good["base_mean8"] - 0.03


def test_memory_recalls_and_costs_no_rollouts() -> None:
    record = trained("memory", num_steps=20)
    assert record["recalled"] > 20
    assert record["rollouts"] == 20 * 64
    assert record["trained"] > trained("uniform", num_steps=20)["trained"]


def test_group_memories_recall_and_cost_no_rollouts() -> None:
    for strategy in ("popo", "advantage-replay(warmup=2)"):
        record = trained(strategy, num_steps=12)
        assert record["recalled"] > 40
        assert record["rollouts"] == 12 * 64
        assert numbers(record) == numbers(trained(strategy, num_steps=12))


def test_recalled_rows_are_corrected_for_the_policy_that_generated_them() -> None:
    """Two tokens whose probability doubled or halved since; the third is padding."""
    torch.manual_seed(0)
    model = Decoder(Shape(vocabulary=10, prompt=2, answer=3, width=16, layers=1, heads=1))
    tokens, mask = torch.tensor([3, 4, 5, 6, 0]), torch.tensor([1.0, 1.0, 0.0])
    now = model.logp(tokens[None])[0].detach()
    then = (now - torch.tensor([2.0, 0.5, 1.0]).log()) * mask
    rows = [StoredRow(tokens, then, mask, 1.0, False)]
    plain, none = recalled_rows(rows, "none", model)
    assert none is None and torch.equal(plain.logp_RG[0], now * mask)
    again, factor = recalled_rows(rows, "decoupled", model)
    assert torch.equal(again.logp_RG, plain.logp_RG) and factor is not None
    assert factor[0, :2].tolist() == pytest.approx([2.0, 0.5], rel=1e-4)
    own, none = recalled_rows(rows, "clipped", model)
    assert none is None and torch.equal(own.logp_RG[0], then)


def test_batches_never_span_epochs() -> None:
    """128 problems in batches of 48: two an epoch; a third would repeat problems, and be refused."""
    record = trained("uniform", num_steps=9, batch=48, minibatches=1)
    assert record["rollouts"] == 9 * 48 * 4
    with pytest.raises(StudyError, match=r"batch is 129.*128 problems"):
        trained("uniform", batch=129)


def test_losses_reach_strategies_that_need_them() -> None:
    """Later minibatches are off policy, so the surrogate is not zero; weights move a little.

    The first four steps are the first epoch, in which no prompt has a bin yet.
    """
    controller, weights = watching(lambda _, weights: weights.weight_R)
    trained("prompt-gdro(signal=surrogate)", controller=controller, num_steps=8, batch=32)
    away = [float(np.abs(weight_R - 1.0).max()) for weight_R in weights]
    assert max(away[:4]) == 0.0
    assert 1e-6 < max(away[4:]) < 0.5


def test_worlds_are_the_same_for_every_arm_and_disjoint() -> None:
    first, again = world(Variant()), made_anew(Variant())
    assert torch.equal(first.prompt_NW, again.prompt_NW)
    prompts = [tuple(row) for row in first.prompt_NW.tolist()]
    assert len(set(prompts)) == SIZES.train + SIZES.heldout


def test_levels_as_sources_of_unequal_size() -> None:
    """Shares of the training pool as given, equal ones held out; scores of each level."""
    shares = [0.4, 0.3, 0.15, 0.1, 0.05]
    drawn = world(Variant(sources=shares))
    level_N = drawn.problem.columns["level"]
    counted = [int((level_N == level).sum()) for level in np.unique(level_N)]
    assert counted == np.diff(np.round(np.cumsum([0, *shares]) * SIZES.train)).tolist()
    assert {int((drawn.level_H == level).sum()) for level in np.unique(level_N)} == {19, 20}
    prompts = {tuple(row) for row in drawn.prompt_NW.tolist()}
    assert len(prompts) == SIZES.train + SIZES.heldout
    sources = trained(variant=Variant(sources=shares))["sources"]
    assert list(sources) == ["0", "25", "50", "75", "100"]
    assert sources["0"]["mean8"] > sources["100"]["mean8"] + 0.1
    with pytest.raises(StudyError, match=r"2 shares, but this task has 5 levels"):
        world(Variant(sources=[0.5, 0.5]))


def test_partial_credit_is_a_gradient_for_groups_without_a_right_answer() -> None:
    """Rewards are shares of the leading tokens; only whole answers are right."""
    controller, rewards = watching(lambda outcome, _: np.stack([outcome.reward_R, outcome.correct_R]))
    credited = trained(variant=Variant(credit=True), controller=controller)
    reward_R, correct_R = np.concatenate(rewards, axis=1)
    assert ((reward_R == 1.0) == (correct_R == 1.0)).all()
    assert ((reward_R > 0) & (reward_R < 1)).mean() > 0.2
    assert credited["trained"] > 1.3 * plain()["trained"]


def test_refused_source_is_never_rewarded_in_training() -> None:
    """Accepted when held out; the share of rollouts that it gets is reported."""
    drawn = world(Variant(refused=0.3))
    assert 0.15 < drawn.spoilt_N.mean() < 0.45
    assert (drawn.answer_NG[: SIZES.train][drawn.spoilt_N] == -1).all()
    record = trained(variant=Variant(refused=0.3))
    assert 0.7 < record["spoilt_share"] < 1.3
    assert plain()["spoilt_share"] is None


def test_optimiser_steps_are_counted() -> None:
    """Four minibatches a step, unless one has no row with a gradient."""
    assert 18 <= plain()["updates"] <= 24
    assert trained(minibatches=1)["updates"] == 6


def test_unsolvable_and_wrong_labels() -> None:
    clean, spoilt = world(Variant()), world(Variant(unsolvable=0.3, wrong_labels=0.1))
    share = spoilt.spoilt_N.mean()
    assert 0.25 < share < 0.55
    changed = (clean.answer_NG != spoilt.answer_NG).any(1).numpy()
    assert not changed[SIZES.train :].any(), "held-out answers are never spoilt"
    assert not changed[: SIZES.train][~spoilt.spoilt_N].any()
    junk = (spoilt.answer_NG[: SIZES.train, 0] == -1).numpy()
    assert 0.15 < junk.mean() < 0.45


def test_a_small_tail_is_small() -> None:
    assert world(Variant(tail=0.05)).base_H.mean() > world(Variant()).base_H.mean()
    assert (world(Variant()).base_H < TAIL).mean() >= 0.25, "chains are heavy-tailed"
    assert (world(Variant(tail=0.05)).base_H < TAIL).mean() < 0.15


def test_a_pool_seen_once_is_seen_once() -> None:
    seen: list[int] = []

    class Spy(Controller):
        def plan(self, request):
            plan = super().plan(request)
            seen.extend(plan.prompt_P.tolist())
            return plan

    once = world(Variant(once=True), num_train=80)
    controller = Spy(make_strategy("failure-sampling"), once.problem)
    run(once, Training(num_steps=5, batch=16), load(START), controller, 0)
    assert len(seen) == len(set(seen)) == 80


def test_noise_flips_rewards() -> None:
    """At its rate: the first step's rollouts are the same, so what differs was flipped."""
    records, verdicts = [], []
    for variant in (Variant(), Variant(verifier_noise=0.2)):
        controller, correct = watching(lambda outcome, _: outcome.correct_R)
        records.append(trained(variant=variant, controller=controller, num_steps=1, batch=128))
        verdicts.append(correct[0])
    flipped_R = verdicts[0] != verdicts[1]
    assert len(flipped_R) == 512 and 0.15 < flipped_R.mean() < 0.25
    assert flipped_R[verdicts[0]].any() and flipped_R[~verdicts[0]].any(), "both ways"
    assert records[0]["base_mean8"] == records[1]["base_mean8"], "held-out verdicts are never flipped"


def test_graded_by_the_final_answer_some_successes_are_luck() -> None:
    """A guess is right once in ten; whole work is never lucky, and the memory's share is counted too."""
    work = trained("uniform + memory", num_steps=12)
    final = trained("uniform + memory", num_steps=12, variant=Variant(grade="final"))
    assert final["base_mean8"] > work["base_mean8"] + 0.05
    assert work["luck"]["fresh"] > 0 and work["luck"]["fresh_wrong"] == 0
    assert work["luck"]["replays_wrong"] == work["luck"]["anchors_wrong"] == 0
    luck = final["luck"]
    assert 0.05 < luck["fresh_wrong"] / luck["fresh"] < 0.6
    assert luck["replays"] + luck["anchors"] == final["recalled"] > 0
    assert 0 < luck["replays_wrong"] + luck["anchors_wrong"] < final["recalled"]


def test_options_are_guessed_about_once_in_their_number() -> None:
    """Digits drawn at random, against the same drawn again: what a guess is worth."""
    digits = torch.from_numpy(np.random.default_rng(0).integers(10, 20, (2, 20_000, 1)))
    given, answer = torch.cat([digits, torch.full_like(digits, END)], -1)
    for choices, low, high in ((2, 0.48, 0.52), (4, 0.24, 0.28), (0, 0.08, 0.12)):
        grade = f"final/{choices}" if choices else "final"
        rate = float(grader_of(grade, 1).right(given, answer).float().mean())
        assert low < rate < high, choices
    with pytest.raises(StudyError, match="final answers of this task have 3 tokens"):
        grader_of("final/4", 3)


def test_an_unknown_grade_names_the_known_ones() -> None:
    with pytest.raises(StudyError, match="allowed: work, final"):
        Variant(grade="last")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": [1.0]}, "sources is .* two or more shares"),
        ({"sources": [0.5, 0.6]}, "add up to 1"),
        ({"sources": [0.5, 0.5], "tail": 0.1}, "sources and variant.tail"),
        ({"credit": True, "grade": "final"}, "credit needs grade: work"),
        ({"credit": True, "verifier_noise": 0.1}, "credit needs .* no verifier_noise"),
        ({"checker": 0.4}, "checker is 0.4"),
        ({"refused": 0.7, "unsolvable": 0.7}, "refused 0.7.* at most 1"),
        ({"once": 3}, "once is 3"),
        ({"credit": "yes"}, "credit is 'yes'"),
    ],
)
def test_variants_that_contradict_themselves_are_refused(options, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        Variant(**options)


def test_new_options_do_not_change_the_identity_of_runs_without_them() -> None:
    """Published runs are found again by the hash of this data."""
    old = ["grade", "unsolvable", "wrong_labels", "verifier_noise", "tail", "once"]
    assert list(Variant().identity()) == old
    assert Variant(refused=0.1).identity() == Variant().identity() | {"refused": 0.1}


def test_a_perfect_check_keeps_every_wrong_work_out_of_memory() -> None:
    strategy = "uniform + memory"
    plain = trained(strategy, num_steps=12, variant=Variant(grade="final"))["luck"]
    checked = trained(strategy, num_steps=12, variant=Variant(grade="final", checker=1.0))["luck"]
    coin = trained(strategy, num_steps=12, variant=Variant(grade="final", checker=0.5))["luck"]
    assert checked["replays"] > 0 and checked["replays_wrong"] == checked["anchors_wrong"] == 0
    assert plain["replays_wrong"] > 0 and coin["replays_wrong"] + coin["anchors_wrong"] > 0
    assert checked["fresh_wrong"] > 0
