"""The explored strategies, found by their entry points (`make setup`), on cases worked out by hand."""

from __future__ import annotations

import doctest

import gdro_explored.frontier_sampling
import gdro_explored.learning_progress
import gdro_explored.patient_rollouts
import numpy as np
import pytest

from by_hand import made, step
from gdro import Controller, Outcome, Problem, Request, make_strategy
from gdro.strategies.names import strategy_class
from gdro.strategy import Draft

MODULES = [
    gdro_explored.frontier_sampling,
    gdro_explored.learning_progress,
    gdro_explored.patient_rollouts,
]


@pytest.mark.parametrize("module", MODULES)
def test_their_examples_run(module) -> None:
    results = doctest.testmod(module)
    assert results.attempted and not results.failed


def test_they_come_from_their_own_package() -> None:
    assert strategy_class("frontier-sampling") is gdro_explored.frontier_sampling.FrontierSampling
    assert strategy_class("learning-progress") is gdro_explored.learning_progress.LearningProgress
    assert strategy_class("patient-rollouts") is gdro_explored.patient_rollouts.PatientRollouts


def test_frontier_sampling_fills_the_batch_near_the_target_but_for_its_floor():
    """A hundred prompts known to be right a tenth of the time, others always or never."""
    for floor, near in ((0.0, 40), (0.25, 30), (1.0, 0)):
        c = made("frontier-sampling", num=400, floor=floor)
        kind = np.arange(400) // 100  # right never, a tenth of the time, always, always
        sums = np.array([[0, 500], [50, 450], [500, 0], [500, 0]])
        c._tracker.counts._sum_N4[:, :2] = sums[kind]
        draws = [
            c.strategy.select(c._state, c.belief, Request(40, 160), np.random.default_rng(i))
            for i in range(50)
        ]
        assert all(len(np.unique(chosen)) == 40 for chosen in draws)
        found = np.array([[(kind[chosen] == k).sum() for k in range(4)] for chosen in draws]).mean(0)
        uniform = 40 - near
        share = (100 - near) / (400 - near)
        assert found[1] == pytest.approx(near + uniform * share, abs=1.0)
        assert found[[0, 2, 3]] == pytest.approx([uniform * 100 / (400 - near)] * 3, abs=1.5)


def test_frontier_sampling_looks_at_its_candidates_only():
    c = made("frontier-sampling", num=4000, candidates=2, floor=0.0)
    plan = c.plan(Request(1000, 4000))
    assert len(np.unique(plan.prompt_P)) == 1000


def test_learning_progress_means() -> None:
    c = made("learning-progress", fast=0.5, slow=0.1)
    state = step(c, {0: 2, 1: 0, 2: 4})
    assert state.fast_N[:3].tolist() == state.slow_N[:3].tolist() == [0.5, 0.0, 1.0]
    assert (state.fast_N[3:] == -1).all()
    state = step(c, {0: 4, 1: 0, 2: 4})
    assert state.fast_N[:3] == pytest.approx([0.75, 0.0, 1.0])
    assert state.slow_N[:3] == pytest.approx([0.55, 0.0, 1.0])


def test_learning_progress_law() -> None:
    """Single draws have the stated probabilities: unseen prompts count as the one that moved most."""
    c = made("learning-progress", num=4, floor=0.2)
    for right in ({0: 2, 1: 2, 2: 4}, {0: 4, 1: 3, 2: 4}):
        step(c, right)
    moved = np.array([0.2, 0.1, 0.0, 0.2])
    want = 0.2 / 4 + 0.8 * moved / moved.sum()
    rng, strategy = np.random.default_rng(0), c.strategy
    drawn = [int(strategy.select(c._state, c.belief, Request(1, 4), rng)[0]) for _ in range(6000)]
    share = np.bincount(drawn, minlength=4) / 6000
    assert (np.abs(share - want) < 4 * np.sqrt(want * (1 - want) / 6000)).all()


def test_learning_progress_is_uniform_while_nothing_moves() -> None:
    c = made("learning-progress", num=4)
    step(c, {0: 2, 1: 2, 2: 4})
    rng = np.random.default_rng(0)
    select = make_strategy("learning-progress").select
    drawn = [int(select(c._state, c.belief, Request(1, 4), rng)[0]) for _ in range(4000)]
    assert np.bincount(drawn, minlength=4) / 4000 == pytest.approx(np.full(4, 0.25), abs=0.03)


def visits_of(visits: int, never: int = 4, **options):
    """Rollouts of eight prompts and which were deferred at each visit, (visits, 8) each.

    The first `never` prompts are never solved; the others get one rollout right at every visit.
    """
    strategy = make_strategy("patient-rollouts", **options)
    controller = Controller(strategy, Problem([str(i) for i in range(8)]))
    planned, deferred = [], []
    for _ in range(visits):
        draft = Draft(np.arange(8), np.zeros(8, np.int64), 32)
        deferred.append(strategy.deferred(controller.belief, draft))
        plan = controller.plan(Request(8, 32, np.arange(8)))
        planned.append(plan.rollouts_P)
        first_P = np.cumsum(plan.rollouts_P) - plan.rollouts_P
        correct_R = np.isin(np.arange(32), first_P[never:])
        outcome = Outcome(plan.ticket, plan.prompt_R, correct_R * 1.0, correct_R)
        controller.weigh(outcome)
        controller.observe(outcome)
    return np.array(planned), np.array(deferred)


def test_deferred_prompts_come_back_ever_more_rarely() -> None:
    """After 3 visits the fewest rollouts, except at visits 3, 6, 12 and 24, counted from zero."""
    planned_VN, deferred_VN = visits_of(26, patience=3, n_max=8)
    assert (planned_VN.sum(axis=1) == 32).all()
    expected = np.isin(np.arange(26), [v for v in range(4, 26) if v not in (6, 12, 24)])
    assert (deferred_VN[:, :4] == expected[:, None]).all() and not deferred_VN[:, 4:].any()
    assert (planned_VN[deferred_VN] == 2).all()


@pytest.mark.parametrize("never", [7, 8])
def test_the_budget_comes_before_deferral(never: int) -> None:
    """Where the others cannot take what is left, fewer prompts are deferred."""
    planned_VN, _ = visits_of(12, never=never, patience=1, n_max=5)
    assert (planned_VN.sum(axis=1) == 32).all()
    assert planned_VN.min() >= 2 and planned_VN.max() <= 5
